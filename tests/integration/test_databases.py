"""A database is backed up before it is migrated, put back by the command that was printed, and migrated backwards."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from tests.integration.support import ask, current, revision, running, sh, tree, unharmed, wait_for
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
# Writes down each command line that a text is in, which is given backwards: else this one would be the first.
WATCH = """
import glob, sys
while True:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = open(path, "rb").read()
        except OSError:
            continue
        if sys.argv[1][::-1].encode() in line:
            open("/root/seen", "ab").write(line)
"""


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
    (project.path / "prod.env").write_text(f"DATABASE_URL={address}\nPGPASSWORD='{PASSWORD}'\n")
    migrate = "psql -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -U shop -f schema.sql shop"
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
    (made,) = kept(site)
    assert (made["tool"], made["why"]) == ("sqlite", f"deploy of {current(shared_server, ROOT)}")
    found = sh(shared_server, f"stat -c '%U %G %a' {ROOT}/backups {made['path'].rpartition('/')[0]} {made['path']}").splitlines()
    assert found == ["root root 700", "root root 700", "root root 600"]
    assert sh(shared_server, f"ls -A {ROOT}/backups {ROOT}/home | grep -E 'fabrelease-new|^.backup' || true") == ""
    ask(shared_server, "/echo?key=since", method="POST", body="x")
    back = " ".join(site.fab("-H", "prod", "rollback").stderr.split())
    assert "stand between, and stay in the database: pages/migrations/0002_echo_revision.py" in back
    assert columns(shared_server) == ["id", "key", "body", "revision"]
    assert "nothing was done" in site.fab(*restoring(said)[:-1]).stderr
    site.fab(*restoring(said))
    assert columns(shared_server) == ["id", "key", "body"]
    assert [ask(shared_server, f"/count?key={key}").body for key in ("before", "since")] == ["1", "0"]
    assert [one["why"] for one in kept(site)] == [made["why"], f"restore of {made['id']}"]
    assert "the live release has the same migrations" in site.fab("-H", "prod", "deploy", "--ref", "one", "--force").stderr


def test_migrations_are_reversed_where_that_is_asked_for_and_done_again_where_the_rollback_fails(
    site: Project, shared_server: Target
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "two")
    ask(shared_server, "/echo?key=kept", method="POST", body="x")
    live = current(shared_server, ROOT)
    target = json.loads(site.fab("-H", "prod", "releases", "--json").stdout)["hosts"][0]["rollback"]
    broken = f"{ROOT}/releases/{target}/public/djangosite/wsgi.py"
    sh(shared_server, f"cp {broken} /root/; echo 'raise SystemExit(3)' >>{broken}")
    said = site.fab("-H", "prod", "rollback", "--with-migrations", status=1).stderr
    assert "reversed: pages.0002_echo_revision" in said
    assert "migrated again" in said
    assert (current(shared_server, ROOT), revision(shared_server), columns(shared_server)[-1]) == (live, "two", "revision")
    sh(shared_server, f"cp /root/wsgi.py {broken}")
    site.fab("-H", "prod", "rollback", "--with-migrations")
    assert (revision(shared_server), columns(shared_server)) == ("one", ["id", "key", "body"])
    assert ask(shared_server, "/count?key=kept").body == "1"
    assert [one["why"].split()[0] for one in kept(site)] == ["deploy", "rollback", "rollback"]


def test_plan_says_which_migrations_would_run_and_which_packages_would_come(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, backup=SQLITE, python={"packages": ["six==1.17.0"]})
    before = tree(shared_server, ROOT)
    said = json.loads(site.fab("-H", "prod", "plan", "--ref", "two", "--migrations", "--json").stdout)
    check("plan", said)
    (host,) = said["hosts"]
    found = host["next"]
    assert found["migrations"]["come"] == ["pages/migrations/0002_echo_revision.py"]
    assert (found["migrations"]["asked"], found["migrations"]["unapplied"]) == (host["live"]["id"], [])
    packages = found["environment"]["packages"]
    assert packages["known_by"] == "asked"
    assert packages["changes"] == [{"package": "six", "change": "added", "old": "", "new": "1.17.0"}]
    assert packages["unpinned"] == ["django", "gunicorn"]
    assert 0 < host["last"]["seconds"] < 300
    assert tree(shared_server, ROOT) == before


def test_a_backup_that_fails_stops_the_deploy_before_anything_is_migrated(site: Project, shared_server: Target) -> None:
    before = kept(site)
    site.stage({"web1": shared_server}, backup={"command": "printf half; exit 3"})
    with unharmed(shared_server):
        said = " ".join(site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr.split())
    assert "nothing was switched: the backup failed: printf half; exit 3: it ended with exit status 3" in said
    assert columns(shared_server) == ["id", "key", "body"]
    assert kept(site) == before
    assert sh(shared_server, f"ls -A {ROOT}/backups").split() == [one["id"] for one in before]


def test_the_application_s_user_is_handed_pipes_and_reaches_no_backup(site: Project, shared_server: Target) -> None:
    look = "{ ls -l /proc/self/fd; ls ../../../backups; id -u; } >$HOME/seen 2>&1; echo what was dumped"
    again = "{ cat; ls -l /proc/self/fd; } >>$HOME/seen; exit 4"
    site.stage({"web1": shared_server}, backup={"command": look, "restore": again})
    said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
    told = site.fab(*restoring(said), status=1).stderr
    assert "could not be restored: it ended with exit status 4" in told
    seen = sh(shared_server, f"cat {ROOT}/home/seen")
    assert "what was dumped" in seen
    assert "Permission denied" in seen
    assert not re.search(r"-> /srv/djangosite/backups|^0$", seen, re.MULTILINE)


def test_a_postgresql_database_is_put_back_as_it_was_whatever_came_since(shop: Project, shared_server: Target) -> None:
    state = "SELECT to_regclass('extra') IS NULL, to_regtype('mood') IS NULL, (SELECT count(*) FROM orders)"
    commit(shop, WRONG, "wrong")
    with running(shared_server, "python3", "-c", WATCH, PASSWORD[::-1][-6:]):
        wait_for(lambda: sh(shared_server, ': "$1"; cat /root/seen 2>/dev/null || true', PASSWORD))  # it would be seen
        sh(shared_server, "rm /root/seen")
        said = shop.fab("-H", "prod", "deploy").stderr
        assert rows(shared_server, state) == ["f|f|0"]
        told = shop.fab(*restoring(said)).stderr
    assert sh(shared_server, "cat /root/seen 2>/dev/null || true") == ""
    assert rows(shared_server, state) == ["t|t|1"]
    assert rows(shared_server, "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == ["shop"]
    sh(shared_server, "runuser -u postgres -- psql -qd shop -c 'ALTER TABLE orders OWNER TO postgres'")
    failed = shop.fab(*restoring(told), "--without-backup", status=1).stderr
    assert "could not be restored" in failed
    sh(shared_server, "runuser -u postgres -- psql -qd shop -c 'ALTER TABLE orders OWNER TO shop'")
    assert rows(shared_server, state) == ["t|t|1"]
    shop.fab(*restoring(told), "--without-backup")
    assert rows(shared_server, state) == ["f|f|0"]
    assert [one["tool"] for one in kept(shop)] == ["pg_dump"] * 3
