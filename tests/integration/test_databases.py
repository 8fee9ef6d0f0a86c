"""A database is backed up before it is migrated, put back by the command that was printed, and migrated backwards."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from tests.integration.support import ask, current, revision, sh, unharmed
from tests.integration.test_json import check
from tests.project import Project
from tests.target import Target

ROOT = "/srv/djangosite"
DATA = f"{ROOT}/shared/data/db.sqlite3"
SQLITE = {"tool": "sqlite", "database": "DJANGO_DB", "keep": 3}
SHOP = "shop.example.net"
PASSWORD = "s3cr3t of the database"
SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, what text); INSERT INTO orders (what) VALUES ('first');"
# As a migration that is wrong: what was there is gone, and something new is there.
WRONG = "DELETE FROM orders; CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE extra (mood mood, of integer REFERENCES orders);"
WATCH = 'while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " " | grep -c "$1" | grep -v "^0$" >>/root/seen || true; done'


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The Django site, of which revision one is live, with its database in a file."""
    project = Project(tmp_path_factory.mktemp("databases") / "project", "djangosite")
    project.stage({"web1": shared_server}, backup=SQLITE)
    said = project.fab("-H", "prod", "setup", "deploy", "--ref", "one").stderr
    assert "none: there is no database yet" in said
    return project


@pytest.fixture(scope="module")
def shop(site: Project, shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An application whose database is a real PostgreSQL's; its migration is a file of SQL."""
    sh(shared_server, "apt-get install -qq -y --no-install-recommends postgresql >/dev/null 2>&1; pg_lsclusters -h | grep -q online")
    make = f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE shop OWNER shop;"
    sh(shared_server, 'printf %s "$1" | sed "s/; /;\\n/g" | runuser -u postgres -- psql -q', make)
    project = Project(tmp_path_factory.mktemp("shop") / "project", "tinysite")
    address = f"postgresql://shop:{PASSWORD.replace(' ', '%20')}@127.0.0.1/shop?conn_max_age=60"
    (project.path / "prod.env").write_text(f"DATABASE_URL={address}\n")
    migrate = 'psql -q -v ON_ERROR_STOP=1 -f schema.sql "${DATABASE_URL%%\\?*}"'
    more = {"site": {"domains": [SHOP]}, "secrets": "prod.env", "backup": "pg_dump", "hooks": {"before_switch": [migrate]}}
    project.stage({"web1": shared_server}, **more)
    commit(project, SCHEMA, "schema")
    project.fab("-H", "prod", "setup", "deploy")
    return project


def commit(project: Project, schema: str, tag: str) -> None:
    (project.repository.path / "schema.sql").write_text(schema)
    project.repository.commit(tag)


def kept(project: Project) -> list[dict[str, Any]]:
    """The backups, oldest first."""
    said = json.loads(project.fab("-H", "prod", "backups", "--json").stdout)
    check("backups", said)
    return list(said["hosts"][0]["backups"])


def rows(server: Target, sql: str) -> list[str]:
    return sh(server, "runuser -u postgres -- psql -qtA shop -c \"$1\"", sql).split()


def columns(server: Target) -> list[str]:
    code = "import sqlite3, sys; print(*[row[1] for row in sqlite3.connect(sys.argv[1]).execute('PRAGMA table_info(pages_echo)')])"
    return sh(server, 'python3 -c "$1" "$2"', code, DATA).split()


def restoring(said: str) -> list[str]:
    """The command that a deploy has printed."""
    found = re.search(r"fab (-H \S+ restore --backup \S+ --yes)", " ".join(said.split()))
    assert found, said
    return shlex.split(found[1])


def test_a_database_is_backed_up_before_it_is_migrated_and_put_back_by_the_printed_command(
    site: Project, shared_server: Target
) -> None:
    ask(shared_server, "/echo?key=before", method="POST", body="x")
    said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
    assert columns(shared_server) == ["id", "key", "body", "revision"]
    (made,) = kept(site)
    assert (made["tool"], made["why"]) == ("sqlite", f"deploy of {current(shared_server, ROOT)}")
    found = sh(shared_server, f"stat -c '%U %G %a' {ROOT}/backups {made['path'].rpartition('/')[0]} {made['path']}").splitlines()
    assert found == ["root root 700", "root root 700", "root root 600"]
    assert sh(shared_server, f"ls -A {ROOT}/backups {ROOT}/home | grep -E 'fabrelease-new|^.backup' || true") == ""
    ask(shared_server, "/echo?key=since", method="POST", body="x")
    site.fab("-H", "prod", "rollback")
    told = site.fab("-H", "prod", *restoring(said)[2:-1]).stderr
    assert "nothing was done" in told
    site.fab(*restoring(said))
    assert columns(shared_server) == ["id", "key", "body"]
    assert [ask(shared_server, f"/count?key={key}").body for key in ("before", "since")] == ["1", "0"]
    assert [one["why"] for one in kept(site)] == [made["why"], f"restore of {made['id']}"]


def test_none_is_made_where_nothing_is_migrated_and_the_oldest_go(site: Project, shared_server: Target) -> None:
    before = kept(site)
    assert "the live release has the same migrations" in site.fab("-H", "prod", "deploy", "--ref", "one", "--force").stderr
    assert kept(site) == before
    oldest = before[0]["id"]
    site.fab("-H", "prod", "deploy", "--ref", "two", "restore", "--backup", oldest, "--yes")
    assert [one["id"] for one in kept(site)][:2] == [oldest, before[1]["id"]]
    site.fab("-H", "prod", "run", "python manage.py migrate --noinput", "restore", "--backup", oldest, "--yes")
    assert len(kept(site)) == 3 + 1  # what is being restored stays
    site.fab("-H", "prod", "run", "python manage.py migrate --noinput")


def test_rollback_says_which_migrations_stand_between_and_reverses_them_where_that_is_asked_for(
    site: Project, shared_server: Target
) -> None:
    assert revision(shared_server) == "two"
    said = site.fab("-H", "prod", "rollback").stderr
    assert "stand between, and stay in the database: pages/migrations/0002_echo_revision.py" in " ".join(said.split())
    assert columns(shared_server)[-1] == "revision"
    site.fab("-H", "prod", "deploy", "--ref", "two")
    ask(shared_server, "/echo?key=kept", method="POST", body="x")
    said = site.fab("-H", "prod", "rollback", "--with-migrations").stderr
    assert "reversed: pages.0002_echo_revision" in said
    assert (revision(shared_server), columns(shared_server)) == ("one", ["id", "key", "body"])
    assert ask(shared_server, "/count?key=kept").body == "1"
    assert kept(site)[-1]["why"].startswith("rollback to ")


def test_where_a_rollback_fails_the_migrations_are_done_again(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "two")
    live = current(shared_server, ROOT)
    target = site.fab("-H", "prod", "releases", "--json").stdout
    back = json.loads(target)["hosts"][0]["rollback"]
    broken = f"{ROOT}/releases/{back}/public/djangosite/wsgi.py"
    sh(shared_server, f"echo 'raise SystemExit(3)' >>{broken}")
    said = site.fab("-H", "prod", "rollback", "--with-migrations", status=1).stderr
    assert "migrated again" in said
    assert (current(shared_server, ROOT), revision(shared_server), columns(shared_server)[-1]) == (live, "two", "revision")


def test_a_backup_that_fails_stops_the_deploy_before_anything_is_migrated(site: Project, shared_server: Target) -> None:
    before = kept(site)
    sh(shared_server, f"mount -t tmpfs -o size=4m,mode=700 tmpfs {ROOT}/backups")
    for command, why in (
        ("printf half; exit 3", "the backup failed: printf half; exit 3: it ended with exit status 3"),
        ("true", "the backup failed: true: it wrote nothing"),
        ("cat /dev/zero", "there is no room for the backup"),
    ):
        site.stage({"web1": shared_server}, backup={"command": command}, hooks={"before_switch": ["touch $HOME/migrated"]})
        with unharmed(shared_server):
            said = " ".join(site.fab("-H", "prod", "deploy", "--force", status=1).stderr.split())
        assert f"nothing was switched: {why}" in said
    assert sh(shared_server, f"ls -A {ROOT}/backups; ls {ROOT}/home; umount {ROOT}/backups") == ""
    assert kept(site) == before


def test_the_application_s_user_reaches_no_backup_and_reads_nothing_of_root_s_by_one(
    site: Project, shared_server: Target
) -> None:
    """Its program is handed pipes, and no file."""
    look = "ls -l /proc/self/fd >$HOME/fds; cat ../../../backups/*/* 2>&1 | head -c 200 >>$HOME/fds; id >>$HOME/fds; echo dump"
    again = "cat >$HOME/restored; ls -l /proc/self/fd >>$HOME/fds; exit 4"
    site.stage({"web1": shared_server}, backup={"command": look, "restore": again})
    said = site.fab("-H", "prod", "deploy", "--force", "--ref", "one").stderr
    assert "the live release has the same migrations" not in said
    told = site.fab(*restoring(said), status=1).stderr
    assert "it ended with exit status 4" in told
    seen = sh(shared_server, f"cat {ROOT}/home/fds {ROOT}/home/restored")
    assert "/backups/" not in re.sub(r"cat: .*Permission denied\n", "", seen)
    assert "uid=0" not in seen
    assert "dump" in seen


def test_a_postgresql_database_is_put_back_as_it_was_whatever_came_since(shop: Project, shared_server: Target) -> None:
    commit(shop, WRONG, "wrong")
    sh(shared_server, f"nohup sh -c '{WATCH}' sh '{PASSWORD[:8]}' >/dev/null 2>&1 & echo $! >/root/watcher")
    said = shop.fab("-H", "prod", "deploy").stderr
    sh(shared_server, "kill $(cat /root/watcher)")
    assert rows(shared_server, "SELECT count(*) FROM orders") == ["0"]
    told = shop.fab(*restoring(said)).stderr
    assert "the database is as in" in told
    assert rows(shared_server, "SELECT what FROM orders") == ["first"]
    assert rows(shared_server, "SELECT to_regclass('extra') IS NULL, to_regtype('mood') IS NULL") == ["t|t"]
    assert rows(shared_server, "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == ["shop"]
    assert [one["tool"] for one in kept(shop)] == ["pg_dump"] * 3
    shop.fab(*restoring(told))
    assert rows(shared_server, "SELECT to_regclass('extra') IS NULL, to_regtype('mood') IS NULL") == ["f|f"]


def test_a_restore_that_fails_in_the_middle_leaves_the_database_as_it_was(shop: Project, shared_server: Target) -> None:
    before = rows(shared_server, "SELECT to_regclass('extra'), count(*) FROM orders")
    first = kept(shop)[0]
    sh(shared_server, "runuser -u postgres -- psql -qd shop -c 'CREATE TABLE orders_of_root (); ALTER TABLE orders OWNER TO postgres'")
    said = shop.fab("-H", "prod", "restore", "--backup", first["id"], "--yes", "--without-backup", status=1).stderr
    assert "could not be restored" in said
    sh(shared_server, "runuser -u postgres -- psql -qd shop -c 'ALTER TABLE orders OWNER TO shop'")
    assert rows(shared_server, "SELECT to_regclass('extra'), count(*) FROM orders") == before
    sh(shared_server, f"printf x >>{first['path']}; printf x | dd of={first['path']} bs=1 seek=20 conv=notrunc status=none")
    said = shop.fab("-H", "prod", "restore", "--backup", first["id"], "--yes", "--without-backup", status=1).stderr
    assert "is not as it was written" in said
    assert rows(shared_server, "SELECT to_regclass('extra'), count(*) FROM orders") == before
