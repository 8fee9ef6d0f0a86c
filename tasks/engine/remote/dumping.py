"""Dumping a database to standard output, and restoring one from standard input, by the database's own programs.

This file's text is what runs on a host, as the application's user, in its environment::

    python3 -I -c TEXT dump|restore pg_dump|mysqldump|sqlite VARIABLE

So it imports nothing of ours. What the variable holds goes to a program by its environment, and never by a command
line, which everybody on the host may read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, quote, unquote

NOTHING = 66  # the exit status where there is no database yet (EX_NOINPUT of sysexits.h)
URL = re.compile(
    r"(?P<scheme>\w+)(?:\+\w+)?://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^@/?#]*)(?:/(?P<name>[^/?#]*))?(?:\?(?P<query>[^#]*))?"
)
HOST = re.compile(r"(?P<host>\[[^]]*\]|[^:]*)(?::(?P<port>\d{1,5}))?")
SQLITE = re.compile(r"sqlite3?(?:\+\w+)?:///([^?]*)(?:\?.*)?")
POSTGRESQL = {"postgres", "postgresql", "psql", "pgsql", "postgis"}
MYSQL = {"mysql", "mysql2", "mariadb", "mysqlgis"}
# What of an address's query libpq takes from its environment.
LIBPQ = {
    "host": "PGHOST",
    "port": "PGPORT",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
LOCK_SECONDS = 60  # that sqlite waits for what others do
# Everything that the user has made in the database: a dump brings back what was in it, and does not know what came
# since. What extensions have made stays, for only their owner could make them again.
CLEAR = """
BEGIN;
SET LOCAL lock_timeout = '60s';
SET LOCAL client_min_messages = warning;
DO $clear$
DECLARE command text;
BEGIN
  FOR command IN
    SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_catalog.pg_namespace
      WHERE nspowner = current_user::regrole AND nspname <> 'public' AND nspname !~ '^pg_'
    UNION ALL
    SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
        format('%I.%I', n.nspname, c.relname))
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relowner = current_user::regrole AND nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE proowner = current_user::regrole AND nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT format('DROP TYPE IF EXISTS %s CASCADE', format('%I.%I', n.nspname, t.typname))
      FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
      WHERE typowner = current_user::regrole AND nspname !~ '^pg_' AND typelem = 0
        AND (typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
  LOOP
    EXECUTE command;
  END LOOP;
END
$clear$;
SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE lomowner = current_user::regrole;
"""


class Refused(Exception):
    """What the variable holds is no address that the tool can use; the text does not hold it."""


def postgresql(address: str) -> dict[str, str]:
    """The variables by which libpq finds the database of an address.

    :raises Refused: it is none.
    """
    parts = _parts(address, POSTGRESQL, "postgresql://user:password@host/name")
    places = [_host(one) for one in parts["hosts"].split(",")]
    found = {
        "PGUSER": unquote(parts["user"]),
        "PGPASSWORD": unquote(parts["password"]),
        "PGHOST": ",".join(unquote(host) for host, _ in places),
        "PGPORT": ",".join(port for _, port in places) if any(port for _, port in places) else "",
        "PGDATABASE": unquote(parts["name"]),
    }
    for name, values in parse_qs(parts["query"]).items():
        if name in LIBPQ:
            found[LIBPQ[name]] = values[-1]
    return {name: value for name, value in found.items() if value}


def mysql(address: str) -> tuple[list[str], str, dict[str, str]]:
    """The options, the database and the variables by which MySQL's programs find the database of an address.

    :raises Refused: it is none.
    """
    parts = _parts(address, MYSQL, "mysql://user:password@host/name")
    if not parts["user"] or not parts["name"]:
        raise Refused("expected an address like mysql://user:password@host/name")
    host, port = _host(parts["hosts"])
    said = {"user": unquote(parts["user"]), "host": unquote(host), "port": port}
    query = parse_qs(parts["query"])
    if "unix_socket" in query:
        said["socket"] = query["unix_socket"][-1]
    options = [f"--{name}={value}" for name, value in said.items() if value]
    return options, unquote(parts["name"]), {"MYSQL_PWD": unquote(parts["password"])}


def sqlite(address: str) -> str:
    """The path of the file that an address names, or that is said as it is.

    :raises Refused: it is none.
    """
    found = SQLITE.fullmatch(address)
    path = unquote(found[1]) if found else address
    if not path or path == ":memory:" or "://" in path:
        raise Refused("expected a path, or an address like sqlite:////srv/shop/shared/data/db.sqlite3")
    return path


CHECKS: dict[str, Callable[[str], object]] = {"pg_dump": postgresql, "mysqldump": mysql, "sqlite": sqlite}


def _parts(address: str, schemes: set[str], like: str) -> dict[str, str]:
    found = URL.fullmatch(address)
    if found is None or found["scheme"] not in schemes:
        raise Refused(f"expected an address like {like}")
    return {name: value or "" for name, value in found.groupdict().items()}


def _host(text: str) -> tuple[str, str]:
    found = HOST.fullmatch(text)
    if found is None:
        raise Refused("expected host or host:port after the @ of an address")
    return found["host"].strip("[]"), found["port"] or ""


def _program(*names: str) -> str:
    """The first of some programs that is there."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or _fail(f"{names[0]} is not on the host: fab setup installs what backup.tool needs")


def _become(program: str, argv: list[str], environment: dict[str, str]) -> NoReturn:
    os.execve(program, argv, {**os.environ, **environment})  # noqa: S606


def _fail(text: str, status: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(status)


def dump_postgresql(address: str) -> NoReturn:
    """Become pg_dump, which writes its own compressed format."""
    _become(_program("pg_dump"), ["pg_dump", "--format=custom", "--no-password"], postgresql(address))


def restore_postgresql(address: str) -> int:
    """Put back what a dump holds, and nothing else, in one transaction: all of it or nothing."""
    environment = {**os.environ, **postgresql(address)}
    read = [_program("pg_restore"), "--no-owner", "--no-comments", "--file=-"]
    write = [_program("psql"), "--quiet", "--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1"]
    with (
        subprocess.Popen(read, env=environment, stdout=subprocess.PIPE) as reader,
        subprocess.Popen(write, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as writer,
    ):
        assert reader.stdout is not None  # noqa: S101
        assert writer.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # psql has ended, and says why
            writer.stdin.write(CLEAR.encode())
            shutil.copyfileobj(reader.stdout, writer.stdin)
            if reader.wait() == 0:
                writer.stdin.write(b"COMMIT;\n")
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.close()  # without the COMMIT it is all undone
        reader.stdout.close()
        return writer.wait() or reader.wait()


def dump_mysql(address: str) -> NoReturn:
    """Become mysqldump, which writes SQL that makes the database anew."""
    options, name, more = mysql(address)
    how = ["--single-transaction", "--quick", "--routines", "--no-tablespaces", "--add-drop-database"]
    argv = ["mysqldump", *options, *how, "--databases", name]
    _become(_program("mysqldump", "mariadb-dump"), argv, more)


def restore_mysql(address: str) -> NoReturn:
    """Become mysql, which runs such SQL."""
    options, _, more = mysql(address)
    _become(_program("mysql", "mariadb"), ["mysql", *options], more)


def dump_sqlite(address: str) -> int:
    """Write a copy as it was at one moment, whoever else is writing."""
    path = sqlite(address)
    if not os.path.exists(path):
        _fail(f"there is no {path} yet", NOTHING)
    with _spare(os.path.getsize(path)) as copy:
        _copy(path, copy)
        with open(copy, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    return 0


def restore_sqlite(address: str) -> int:
    """Put a copy's content in the place of what is there, in one transaction."""
    with _spare(0) as copy:
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        _copy(copy, sqlite(address))
    return 0


def _copy(source: str, target: str) -> None:
    import sqlite3  # not needed where this is imported for its names

    def opened(path: str, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(os.path.abspath(path))}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS)

    try:
        with contextlib.closing(opened(source, "rw")) as one, contextlib.closing(opened(target, "rwc")) as other:
            (answer,) = one.execute("PRAGMA quick_check").fetchone()
            if answer != "ok":
                _fail(f"{source} is no whole database: {answer}")
            one.backup(other)
    except sqlite3.Error as error:
        _fail(f"{source} could not be copied to {target}: {error}")


@contextlib.contextmanager
def _spare(size: int) -> Iterator[str]:
    """A path in the user's home for a copy, which is gone afterwards.

    :param size: bytes that it needs.
    """
    import tempfile

    home = os.environ["HOME"]
    left = shutil.disk_usage(home).free
    if size * 2 > left:  # the copy, and what is made of it
        _fail(f"the database has {size} bytes, and {left} are left on the disk of {home}")
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=home) as folder:
        yield str(Path(folder, "copy"))


DOES: dict[tuple[str, str], Callable[[str], int]] = {
    ("dump", "pg_dump"): dump_postgresql,
    ("dump", "mysqldump"): dump_mysql,
    ("dump", "sqlite"): dump_sqlite,
    ("restore", "pg_dump"): restore_postgresql,
    ("restore", "mysqldump"): restore_mysql,
    ("restore", "sqlite"): restore_sqlite,
}


def main(what: str, tool: str, variable: str) -> int:
    """Dump or restore the database that a variable of the environment names; the exit status."""
    address = os.environ.get(variable)
    if not address:
        _fail(f"{variable} is not in the environment of the application")
    try:
        return DOES[what, tool](address)
    except Refused as refused:
        _fail(f"{variable}: {refused}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
