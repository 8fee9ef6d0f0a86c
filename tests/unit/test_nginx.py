"""Our site beside those of others in nginx's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import nginx
from fabrelease.tasks.engine.remote.failure import Failed


@pytest.fixture(params=["Debian", "others"])
def etc(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nginx's directory, as Debian has it and as others have."""
    monkeypatch.setattr(nginx, "ETC", str(tmp_path))
    monkeypatch.setattr("os.fchown", lambda *args: None)
    for name in ("sites-available", "sites-enabled") if request.param == "Debian" else ("conf.d",):
        (tmp_path / name).mkdir()
    return tmp_path


def test_our_site_is_put_there_once_and_includes_what_is_live(etc: Path) -> None:
    changed = nginx.install("site", "/srv/site")
    path, link = nginx.place("site")
    assert changed == [f"site {path}", *([f"link {link}"] if link else [])]
    assert (
        (Path(link) if link else Path(path))
        .read_text()
        .endswith('include "/srv/site/current/config/nginx.con[f]";\n')
    )
    assert nginx.install("site", "/srv/site") == []
    assert nginx.install("site", "/srv/elsewhere") == [f"site {path}"]


def test_a_site_of_somebody_else_s_is_not_replaced(etc: Path) -> None:
    path = Path(nginx.place("site")[0])
    path.write_text("server {}\n# fabrelease is mentioned here only\n")
    with pytest.raises(Failed, match="was not made by fabrelease; nothing was touched"):
        nginx.install("site", "/srv/site")
    assert path.read_text().startswith("server {}")
