"""Backups: what names a database, what is kept of a dump, and what is not."""

from __future__ import annotations

import contextlib
import getpass
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fabrelease.tasks.engine import databases, planning
from fabrelease.tasks.engine.errors import UsageError
from fabrelease.tasks.engine.mistakes import mistakes
from fabrelease.tasks.engine.remote import backups, dumping
from fabrelease.tasks.engine.remote.failure import Failed
from fabrelease.tasks.engine.settings import Settings
from tests.unit.examples import RELEASE_ID, example_settings

MIGRATE = {"before_switch": ["python manage.py migrate --noinput"]}
ME = getpass.getuser()


def with_backup(backup: Any, **more: Any) -> Settings:
    return example_settings(**{"backup": backup, "hooks": MIGRATE, **more})


def test_a_tool_alone_is_a_backup_of_what_the_usual_variable_names() -> None:
    settings = with_backup("pg_dump", env={"DATABASE_URL": "postgres://shop@db/shop"})
    databases.check(settings)
    assert databases.of(settings) == backups.Database("pg_dump", "DATABASE_URL", "", "", 5, 3600)
    assert "postgresql-client" in planning.wanted(settings).packages


REFUSED = [
    ({}, "expected one of tool and command, found none"),
    ({"tool": "sqlite", "command": "cat db"}, "expected one of tool and command, found both"),
    ({"tool": "sqlite", "restore": "cat"}, "restore has no meaning with tool"),
    ({"command": "cat db", "database": "DB"}, "database has no meaning with command"),
    ("pgdump", "pg_dump"),
    ({"tool": "sqlite", "keep": 0}, "1"),
]


@pytest.mark.parametrize(("backup", "words"), REFUSED)
def test_a_backup_that_cannot_be_is_refused(backup: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        with_backup(backup)
    found = mistakes(caught.value, Settings)
    assert any(words in f"{one.message} {one.hint}" for one in found)
    assert {one.path[0] for one in found} == {"backup"}


def test_a_backup_before_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is nothing"):
        with_backup("pg_dump", hooks={})


@pytest.mark.parametrize(
    ("tool", "address", "words"),
    [
        ("pg_dump", "", "there is no DATABASE_URL in env: or secrets:"),
        ("pg_dump", "mysql://shop:s3cr3t@db/shop", "expected an address like postgresql://"),
        ("pg_dump", "postgres://shop:s3cr3t@db:port/shop", "expected host or host:port"),
        ("mysqldump", "mysql://db/s3cr3t", "expected an address like mysql://"),
        ("sqlite", ":memory:", "expected a path"),
        ("sqlite", "postgres://shop:s3cr3t@db/shop", "expected a path"),
    ],
)
def test_a_variable_that_names_no_database_is_refused_and_its_value_not_shown(tool: str, address: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        databases.check(with_backup(tool, env={"DATABASE_URL": address} if address else {}))
    assert words in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_addresses_of_postgresql() -> None:
    assert dumping.postgresql("postgres://me:p%40s@db:5433/shop?sslmode=require&conn_max_age=9") == {
        "PGUSER": "me",
        "PGPASSWORD": "p@s",
        "PGHOST": "db",
        "PGPORT": "5433",
        "PGDATABASE": "shop",
        "PGSSLMODE": "require",
    }
    assert dumping.postgresql("postgresql+psycopg:///shop?host=/run/postgresql") == {
        "PGHOST": "/run/postgresql",
        "PGDATABASE": "shop",
    }
    several = dumping.postgresql("postgresql://me@[2001:db8::1]:1,two/shop")
    assert (several["PGHOST"], several["PGPORT"]) == ("2001:db8::1,two", "1,")
    assert dumping.postgresql("postgis://%2Frun%2Fpostgresql/shop")["PGHOST"] == "/run/postgresql"


def test_addresses_of_mysql_and_sqlite() -> None:
    options, name, more = dumping.mysql("mysql+pymysql://me:p%23s@db:3307/shop?charset=utf8mb4")
    assert (options, name, more) == (["--user=me", "--host=db", "--port=3307"], "shop", {"MYSQL_PWD": "p#s"})
    assert dumping.mysql("mariadb://me@/shop?unix_socket=/run/my.sock")[0] == ["--user=me", "--socket=/run/my.sock"]
    paths = {"sqlite:////srv/a%20b.sqlite3?timeout=9": "/srv/a b.sqlite3", "sqlite:///data/db": "data/db", "/srv/db": "/srv/db"}
    assert {address: dumping.sqlite(address) for address in paths} == paths


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_password_never_becomes_part_of_a_command_line(password: str) -> None:
    """As it is, or encoded, or with what an address would have to encode."""
    with contextlib.suppress(dumping.Refused):
        options, name, _ = dumping.mysql(f"mysql://shop:{password}@db/shop")
        assert (options, name) == (["--user=shop", "--host=db"], "shop")


# --- what is kept -------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> str:
    """An application's root, with a release whose launcher starts what it is told."""
    config = tmp_path / f"releases/{RELEASE_ID}/config"
    config.mkdir(parents=True)
    (config / "launch").write_text('exec "$@"\n')
    return str(tmp_path)


def by(command: str, restore: str = "", **more: Any) -> backups.Database:
    return backups.Database(**{"tool": "", "variable": "", "command": command, "restore": restore, "keep": 2, "timeout": 20, **more})


def take(root: str, database: backups.Database, spared: str = "") -> backups.Backup | None:
    return backups.take(root, ME, RELEASE_ID, database, "deploy", "ann@laptop", spared)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the directory of the backups has to be root's")


@needs_root
def test_what_a_program_writes_is_kept_byte_for_byte_and_restored_so(root: str) -> None:
    database = by("head -c 3000000 /dev/urandom | tee copy; echo said >&2", "cat >back")
    database = backups.Database(**{**vars(database), "command": f"cd {root}; {database.command}", "restore": f"cat >{root}/back"})
    made = take(root, database)
    assert made is not None
    assert made["bytes"] == 3_000_000
    assert backups.restore(root, ME, RELEASE_ID, database, made["id"]) == made
    assert Path(root, "back").read_bytes() == Path(root, "copy").read_bytes()


@needs_root
@pytest.mark.parametrize("command", ["printf half; exit 3", "true", "sleep 60", "kill -9 $$"])
def test_nothing_stays_of_a_dump_that_fails(root: str, command: str) -> None:
    with pytest.raises(Failed, match="the backup failed"):
        take(root, by(command, timeout=0.5))
    assert os.listdir(f"{root}/backups") == []


@needs_root
def test_a_dump_ends_where_the_disk_would_be_full(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs(root)
    free = disk.f_bavail * disk.f_frsize
    monkeypatch.setattr(backups, "_left", lambda disk: free - (8 << 20))
    with pytest.raises(Failed, match="there is no room for the backup"):
        take(root, by("cat /dev/zero"))
    assert os.listdir(f"{root}/backups") == []


@needs_root
def test_the_newest_are_kept_and_the_one_that_is_being_restored(root: str) -> None:
    made = [take(root, by("echo x")) for _ in range(3)]
    first, second, third = (one["id"] for one in made if one)
    assert backups.ids(root) == [second, third]
    fourth = take(root, by("echo x"), spared=second)
    assert fourth is not None
    assert backups.ids(root) == [second, third, fourth["id"]]
    assert first < second < third < fourth["id"]


@needs_root
def test_a_directory_that_others_get_into_is_not_used(root: str) -> None:
    os.mkdir(f"{root}/backups", 0o755)
    with pytest.raises(Failed, match="is not root's alone"):
        take(root, by("echo x"))
    os.rmdir(f"{root}/backups")
    os.mkdir(f"{root}/elsewhere", 0o700)
    os.symlink("elsewhere", f"{root}/backups")
    with pytest.raises(OSError, match=r"ot a directory|symbolic"):
        take(root, by("echo x"))
    assert os.listdir(f"{root}/elsewhere") == []


@needs_root
def test_only_what_was_made_by_the_same_tool_is_restored(root: str) -> None:
    made = take(root, by("echo x"))
    assert made is not None
    for database, words in (
        (by("echo y", "cat"), "the settings of now say otherwise"),
        (by("echo x"), "backup.restore is not set"),
    ):
        with pytest.raises(Failed, match=words):
            backups.restore(root, ME, RELEASE_ID, database, made["id"])
    with pytest.raises(Failed, match=r"there is no backup '\.\./x'"):
        backups.find(root, "../x")


# --- sqlite, for real ---------------------------------------------------------------------


@needs_root
def test_a_database_of_sqlite_is_copied_while_it_is_written_to_and_put_back(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{root}/db.sqlite3"
    Path(f"{root}/releases/{RELEASE_ID}/config/launch").write_text(f'export DB=sqlite:///{path} HOME={root}\nexec "$@"\n')
    database = by("", tool="sqlite", variable="DB")
    assert take(root, database) is None
    with contextlib.closing(sqlite3.connect(path)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE t (x)")
        live.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(1000)])
        live.commit()
        live.execute("INSERT INTO t VALUES (-1)")  # not committed: it is in no backup
        made = take(root, database)
        assert made is not None
        live.commit()
        live.execute("CREATE TABLE other (y)")
        live.commit()
        backups.restore(root, ME, RELEASE_ID, database, made["id"])
        assert live.execute("SELECT count(*), min(x) FROM t").fetchone() == (1000, 0)
        assert live.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
    Path(path).write_bytes(b"SQLite format 3\0" + b"\1" * 8000)
    with pytest.raises(Failed, match=r"could not be copied|no whole database"):
        take(root, database)
