"""Migrations: which commands migrate, which files are some, and how far back each app has to go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabrelease.tasks.engine import databases
from fabrelease.tasks.engine.remote import migrations
from fabrelease.tasks.engine.remote.failure import Failed
from fabrelease.tasks.engine.remote.migrations import Migration
from tests.unit.examples import example_settings

OLD, NEW = "20260101T000000Z-1111111", "20260102T000000Z-2222222"
LISTED = """\
auth
 [X] 0001_initial
 [X] 0002_alter_permission_name_max_length
empty
 (no migrations)
pages
 [X] 0001_squashed_0002_more (2 squashed migrations)
 [ ] 0003_later
 [-] 0004_squashed_0005_x (2 squashed migrations) run 'manage.py migrate' to finish recording.
"""


@pytest.mark.parametrize(
    ("command", "kind", "prefix", "options"),
    [
        ("python manage.py migrate --noinput", "django", "python manage.py", []),
        ("cd src && python3 ./manage.py migrate", "django", "cd src && python3 ./manage.py", []),
        ("django-admin migrate --settings=shop.prod -v 2", "django", "django-admin", ["--settings=shop.prod"]),
        ("alembic upgrade head", "alembic", "alembic", []),
        ("alembic -c deploy/alembic.ini upgrade head", "alembic", "alembic -c deploy/alembic.ini", []),
        ("env/bin/alembic upgrade heads", "alembic", "env/bin/alembic", []),
        ("flask --app shop db upgrade", "alembic", "flask --app shop db", []),
    ],
)
def test_commands_that_migrate(command: str, kind: str, prefix: str, options: list[str]) -> None:
    found = databases.migrator(command, 60)
    assert found is not None
    assert (found.kind, found.prefix, found.options, found.forward) == (kind, prefix, options, command)


@pytest.mark.parametrize(
    "command",
    ["python manage.py migrate && python manage.py loaddata x", "python manage.py collectstatic", "./upgrade.sh",
     "python manage.py migrate; rm x", "alembic upgrade head | tee log", "flask db-upgrade", "python manage.py migrate $(x)"],
)  # fmt: skip
def test_commands_that_do_something_else_or_more(command: str) -> None:
    assert databases.migrator(command, 60) is None


def test_only_where_all_hooks_migrate_and_no_more_is_it_known_what_they_do() -> None:
    assert databases.migrates_alone(example_settings(hooks={"before_switch": ["alembic upgrade head"]}))
    assert not databases.migrates_alone(example_settings(hooks={"before_switch": ["alembic upgrade head", "./more"]}))
    assert not databases.migrates_alone(example_settings())


def test_what_django_prints_of_its_migrations() -> None:
    found = migrations.read_list(LISTED.splitlines())
    assert list(found) == ["auth", "empty", "pages"]
    assert found["empty"] == []
    assert found["pages"] == [
        Migration("0001_squashed_0002_more", True, True),
        Migration("0003_later", False, False),
        Migration("0004_squashed_0005_x", False, True),
    ]


def applied(*names: str) -> list[Migration]:
    return [Migration(name, True, False) for name in names]


def test_each_app_goes_back_to_the_last_migration_that_the_older_release_has() -> None:
    newer = {"auth": applied("1", "2"), "new": applied("1"), "pages": [*applied("1", "2", "3"), Migration("4", False, False)]}
    older = {"auth": applied("1", "2"), "pages": applied("1", "2")}
    assert migrations.targets(newer, older) == {"new": "zero", "pages": "2"}
    assert migrations.targets(older, older) == {}
    unapplied = {"pages": [*applied("1", "2"), Migration("3", False, False)]}
    assert migrations.targets(unapplied, older) == {}


@pytest.mark.parametrize(
    ("newer", "older", "why"),
    [
        (applied("1", "3"), applied("1", "2"), "it has 2, which the live one has not"),
        ([Migration("1_squashed_2", True, True)], [], "some were squashed since"),
    ],
)
def test_histories_that_went_apart_are_left_to_a_person(newer: list[Migration], older: list[Migration], why: str) -> None:
    with pytest.raises(Failed, match=why):
        migrations.targets({"pages": newer}, {"pages": older})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two releases, the newer with one more migration."""
    for name, files in ((OLD, ["0001_a.py"]), (NEW, ["0001_a.py", "0002_b.py"])):
        folder = tmp_path / f"releases/{name}/public/pages/migrations"
        folder.mkdir(parents=True)
        for file in (*files, "__init__.py", "notes.txt"):
            (folder / file).write_text(file)
        (tmp_path / f"releases/{name}/release.json").write_text('{"environment": "e", "state": "good"}')
    return tmp_path


def test_what_stands_between_two_releases_is_seen_by_their_files(root: Path) -> None:
    assert migrations.between(str(root), NEW, OLD) == ["pages/migrations/0002_b.py"]
    assert migrations.between(str(root), OLD, NEW) == []
    assert not migrations.same(str(root), NEW, OLD)
    (root / f"releases/{NEW}/public/pages/migrations/0002_b.py").unlink()
    assert migrations.same(str(root), NEW, OLD)
    (root / f"releases/{NEW}/public/pages/migrations/0001_a.py").write_text("another")
    assert not migrations.same(str(root), NEW, OLD)


def test_other_packages_may_have_other_migrations(root: Path) -> None:
    for name, files in ((OLD, ["0001_initial.py"]), (NEW, ["0001_initial.py", "0013_more.py"])):
        folder = root / f"envs/{name}/lib/python3.11/site-packages/auth/migrations"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
        (root / f"releases/{name}/env").symlink_to(f"../../envs/{name}")
        (root / f"releases/{name}/release.json").write_text(f'{{"environment": "{name}", "state": "good"}}')
    assert migrations.between(str(root), NEW, OLD) == ["pages/migrations/0002_b.py", "auth/migrations/0013_more.py"]
    assert not migrations.same(str(root), NEW, OLD)


def test_where_no_file_is_a_migration_nothing_is_known(root: Path) -> None:
    for name in (OLD, NEW):
        os.rename(root / f"releases/{name}/public/pages", root / f"releases/{name}/elsewhere")
    assert not migrations.same(str(root), NEW, OLD)


def test_links_in_a_release_are_not_followed(root: Path, tmp_path: Path) -> None:
    (root / f"releases/{NEW}/public/media").symlink_to("/usr/lib/python3")
    (root / f"releases/{NEW}/public/pages/migrations/0003_c.py").symlink_to("/etc/passwd")
    assert migrations.between(str(root), NEW, OLD) == ["pages/migrations/0002_b.py"]
