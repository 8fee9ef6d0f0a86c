"""What uv is told of the host's pip.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import indexes

PIP = """\
[global]
index-url = https://one.example.net/simple
extra-index-url =
    https://two.example.net/simple
    https://three.example.net/simple
trusted-host = two.example.net
[install]
index-url = https://four.example.net/si%20mple
no-binary = all
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for the host's /etc."""
    monkeypatch.setattr(indexes, "PIP_FILES", (str(tmp_path / "pip.conf"),))
    monkeypatch.setattr(indexes, "UV_FILE", str(tmp_path / "uv.toml"))
    return tmp_path


def test_the_indexes_of_pip_s_file_are_told_by_uv_s_names(host: Path) -> None:
    (host / "pip.conf").write_text(PIP)
    assert indexes.variables() == {
        **indexes.CERTIFICATES,
        "UV_DEFAULT_INDEX": "https://four.example.net/si%20mple",
        "UV_INDEX": "https://two.example.net/simple https://three.example.net/simple",
        "UV_INSECURE_HOST": "two.example.net",
    }


@pytest.mark.parametrize("text", ['[[index]]\nurl = "x"', 'index-url = "x"', '[pip]\nextra-index-url = ["x"]'])
def test_indexes_of_uv_s_own_file_are_left_to_it(host: Path, text: str) -> None:
    (host / "pip.conf").write_text(PIP)
    (host / "uv.toml").write_text(text)
    assert "UV_DEFAULT_INDEX" not in indexes.variables()


@pytest.mark.parametrize("text", ["", "no section\n", "[global]\nindex-url\n"])
def test_a_pip_file_that_says_nothing_is_no_matter(host: Path, text: str) -> None:
    (host / "pip.conf").write_text(text)
    assert indexes.variables() == indexes.CERTIFICATES
