"""Our site beside those of others in nginx's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import domains, nginx, system
from fabrelease.tasks.engine.remote.failure import Failed

EVERYBODY_S = {"sites-enabled/zz.fabrelease.conf", "conf.d/zz.fabrelease.conf"}


def install(root: str) -> list[str]:
    return [line for resource in nginx.resources("site", root) for line in resource.apply()]


@pytest.fixture(params=["Debian", "others"])
def etc(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nginx's directory, as Debian has it and as others have."""
    monkeypatch.setattr(system, "NGINX", str(tmp_path))
    monkeypatch.setattr("os.fchown", lambda *args: None)
    monkeypatch.setattr(domains, "LOCK", str(tmp_path / "lock"))
    for name in ("sites-available", "sites-enabled") if request.param == "Debian" else ("conf.d",):
        (tmp_path / name).mkdir()
    return tmp_path


def test_our_site_is_put_there_once_and_includes_what_is_live(etc: Path) -> None:
    changed = install("/srv/site")
    path, link = system.here().site("site")
    assert changed.pop(0).endswith("/zz.fabrelease.conf")
    assert changed == [f"site {path}", *([f"link {link}"] if link else [])]
    text = (Path(link) if link else Path(path)).read_text()
    assert all(f'include "/srv/site/current/config/{name}.con[f]";\n' in text for name in ("http", "nginx"))
    everybody_s = next(etc.glob("*/zz.fabrelease.conf"))
    assert everybody_s.read_text().endswith(f'include "{etc}/fabrelease/*.conf";\n')
    assert sorted(path.name for path in everybody_s.parent.iterdir()) == ["site.conf", everybody_s.name]  # it is last
    assert install("/srv/site") == []
    assert install("/srv/elsewhere") == [f"site {path}"]


def test_where_nginx_is_not_there_yet_the_site_s_place_is_that_of_the_nginx_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "NGINX", str(tmp_path / "nginx"))
    before = system.Debian().site("site")
    (tmp_path / "nginx/conf.d").mkdir(parents=True)
    (tmp_path / "nginx/sites-available").mkdir()
    assert system.Debian().site("site") == before


def test_our_site_is_taken_away_and_one_of_somebody_else_s_stays(etc: Path) -> None:
    install("/srv/site")
    for resource in reversed(nginx.resources("site", "/srv/site")):
        resource.remove()
    left = {str(path.relative_to(etc)) for path in etc.rglob("*.conf")}
    assert len(left) == 1
    assert left < EVERYBODY_S
    path = Path(system.here().site("site")[0])
    path.write_text("server {}\n")
    for resource in nginx.resources("site", "/srv/site"):
        resource.remove()
    assert path.read_text() == "server {}\n"


def test_a_site_of_somebody_else_s_is_not_replaced(etc: Path) -> None:
    path = Path(system.here().site("site")[0])
    path.write_text("server {}\n# fabrelease is mentioned here only\n")
    with pytest.raises(Failed, match="was not made by fabrelease; nothing was touched"):
        install("/srv/site")
    assert path.read_text().startswith("server {}")
