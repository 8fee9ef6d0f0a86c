"""What a deploy takes from this machine is looked at before anything is connected to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine import local, secretsource
from fabrelease.tasks.engine.errors import UsageError
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings


def settings(project: Path, **more: object) -> Settings:
    return example_settings(**more).model_copy(update={"project": project})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("TOKEN=plain", "plain"),
        ("export TOKEN='a b'", "a b"),
        ("TOKEN='$HOME `id` \"x\" %d #no comment'", "$HOME `id` \"x\" %d #no comment"),
        ('TOKEN="two\\nlines"', "two\nlines"),
        ("# a comment\n\nTOKEN=é\n", "é"),
    ],
)
def test_a_secret_is_read_as_it_is_written(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / "prod.env").write_text(line, encoding="utf-8")
    assert secretsource.read(settings(tmp_path, secrets="prod.env")) == {"TOKEN": value}


@pytest.mark.parametrize("line", ["no variable", "A-B=hush", "1A=hush", "TOKEN='hush"])
def test_a_line_that_is_no_variable_is_named_by_its_number_and_never_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "prod.env").write_text(f"FIRST=1\n{line}\n")
    with pytest.raises(UsageError, match=r"prod\.env:2 ") as caught:
        secretsource.read(settings(tmp_path, secrets="prod.env"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"secrets": "gone.env"}, "gone.env cannot be read"),
        ({"shared": {"files": {"config.py": "gone.py"}}}, "no local file"),
        ({"python": {"wheelhouse": "."}}, "there are no wheels"),
        ({"source": {"package": "dist/gone-1.0-py3-none-any.whl"}}, "there is no wheel"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, more: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        local.check(settings(tmp_path, **more))
