"""rsync: the same as patchwork 1.0.1 where that works, right where it does not."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import fabric
import paramiko
import pytest
from fabric import Connection
from invoke.exceptions import UnexpectedExit

from fabrelease.tasks.engine import patchwork as ours
from tests.target import Target

from .conftest import Patchwork, attempt


@pytest.fixture(scope="module", autouse=True)
def rsync_here_and_there(programs: None, c: Connection) -> None:
    ours.package(c, "rsync")


@pytest.fixture
def known(shared_bare_server: Target) -> str:
    """The ssh option that makes the server known; the original needs it always."""
    return f"-o UserKnownHostsFile={shared_bare_server.known_hosts}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three local files."""
    for name in ("one.txt", "two.log", "below/three.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "tree"


def stranger(server: Target) -> Connection:
    """A connection as Fabric makes it: it takes any host key."""
    config = fabric.Config(overrides={"run": {"in_stream": False}, "load_ssh_configs": False})
    keys = {"key_filename": str(server.key_path)}
    return Connection(server.host, user=server.user, port=server.ssh_port, config=config, connect_kwargs=keys)


def files(c: Connection, directory: str) -> list[str]:
    """What is below a directory of the server."""
    found: str = c.run(f"find {shlex.quote(directory)} -type f -printf '%P\\n' | sort", hide=True).stdout
    return found.splitlines()


# --- what both have in common -------------------------------------------------------------------------------


def test_rsync_copies_a_directory_or_what_is_in_it(
    pw: Patchwork, c: Connection, d: str, tree: Path, known: str
) -> None:
    result = pw.rsync(c, str(tree), d, ssh_opts=known)
    assert result.ok
    pw.rsync(c, f"{tree}/", f"{d}/inner", ssh_opts=known)
    names = ["below/three.txt", "one.txt", "two.log"]
    assert files(c, d) == sorted([f"inner/{name}" for name in names] + [f"tree/{name}" for name in names])


def test_rsync_leaves_out_what_is_excluded(
    pw: Patchwork, c: Connection, d: str, tree: Path, known: str
) -> None:
    pw.rsync(c, f"{tree}/", f"{d}/one", exclude="*.log", ssh_opts=known)
    pw.rsync(c, f"{tree}/", f"{d}/two", exclude=["*.log", "below"], ssh_opts=known)
    assert files(c, d) == ["one/below/three.txt", "one/one.txt", "two/one.txt"]


def test_rsync_deletes_only_when_told(pw: Patchwork, c: Connection, d: str, tree: Path, known: str) -> None:
    c.run(f"touch {d}/old")
    pw.rsync(c, f"{tree}/", d, ssh_opts=known)
    assert "old" in files(c, d)
    pw.rsync(c, f"{tree}/", d, delete=True, ssh_opts=known)
    assert files(c, d) == ["below/three.txt", "one.txt", "two.log"]


def test_rsync_takes_more_options(pw: Patchwork, c: Connection, d: str, tree: Path, known: str) -> None:
    pw.rsync(c, f"{tree}/", d, rsync_opts="--include one.txt --exclude '*' --chmod=F600", ssh_opts=known)
    assert c.run(f"stat -c %n:%a {d}/*", hide=True).stdout == f"{d}/one.txt:600\n"


def test_rsync_goes_below_the_home_directory(pw: Patchwork, c: Connection, tree: Path, known: str) -> None:
    for target in ("~/home-one", "home-two"):
        pw.rsync(c, f"{tree}/one.txt", f"{target}/", ssh_opts=known)
    found = files(c, "/home/deploy")
    c.run("rm -rf ~/home-one ~/home-two")
    assert {"home-one/one.txt", "home-two/one.txt"} <= set(found)


def test_rsync_to_an_unknown_host_is_refused_unless_keys_are_not_checked(
    pw: Patchwork, shared_bare_server: Target, c: Connection, d: str, tree: Path
) -> None:
    nothing_known = "-o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    with stranger(shared_bare_server) as connection:
        refused = attempt(pw.rsync, connection, str(tree), d, ssh_opts=nothing_known)
        before = files(c, d)
        pw.rsync(connection, f"{tree}/", d, ssh_opts=nothing_known, strict_host_keys=False)
    assert (refused, before, len(files(c, d))) == ("failed", [], 3)


def test_rsync_fails_when_there_is_nothing_to_copy(
    pw: Patchwork, c: Connection, d: str, tmp_path: Path, known: str
) -> None:
    with pytest.raises(UnexpectedExit):
        pw.rsync(c, f"{tmp_path}/nothing", d, ssh_opts=known)


# --- where the original goes wrong --------------------------------------------------------------------------


def test_rsync_knows_the_hosts_that_the_connection_knows(
    pw: Patchwork, c: Connection, d: str, tree: Path
) -> None:
    outcome = attempt(pw.rsync, c, f"{tree}/one.txt", d, ssh_opts="-o BatchMode=yes")
    pw.expect((outcome == "failed", files(c, d)), original=(True, []), ours=(False, ["one.txt"]))


def test_rsync_does_not_ask_whether_to_trust_a_host(
    shared_bare_server: Target, c: Connection, d: str, tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with stranger(shared_bare_server) as connection, pytest.raises(UnexpectedExit) as caught:
        connection.open()  # Fabric takes the key; that does not make it known
        ours.rsync(connection, str(tree), d, ssh_opts="-o UserKnownHostsFile=/dev/null")
    assert "you have requested strict checking" in caught.value.result.stderr
    assert files(c, d) == []


def test_rsync_refuses_a_changed_key(
    shared_bare_server: Target, c: Connection, d: str, tree: Path, tmp_path: Path
) -> None:
    server = shared_bare_server
    other = paramiko.ECDSAKey.generate()
    wrong = tmp_path / "known_hosts"
    wrong.write_text(f"[{server.host}]:{server.ssh_port} {other.get_name()} {other.get_base64()}\n")
    with server.connection() as connection, pytest.raises(UnexpectedExit) as caught:
        connection.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        ours.rsync(connection, str(tree), d, ssh_opts=f"-o UserKnownHostsFile={wrong}")
    assert "Host key verification failed" in caught.value.result.stderr
    assert files(c, d) == []


def test_rsync_takes_paths_with_spaces(pw: Patchwork, c: Connection, d: str, tree: Path, known: str) -> None:
    (tree / "a b").mkdir()
    (tree / "a b" / "c d").write_text("x")
    attempt(pw.rsync, c, f"{tree}/a b/", f"{d}/x y/", ssh_opts=known)
    pw.expect(files(c, d), original=[], ours=["x y/c d"])


def test_rsync_runs_nothing_that_is_in_a_pattern(
    pw: Patchwork, c: Connection, d: str, tree: Path, tmp_path: Path, known: str
) -> None:
    pw.rsync(c, f"{tree}/one.txt", d, exclude=f"$(touch {tmp_path}/pwned)", ssh_opts=known)
    pw.expect((tmp_path / "pwned").exists(), original=True, ours=False)


@pytest.mark.parametrize(
    "name", ["it's", 'a "b"', "a:b", "-v", "$HOME", "$(id)", "new\nline", "back\\slash", "~", "*"]
)
def test_rsync_carries_any_name(c: Connection, d: str, tree: Path, name: str) -> None:
    (tree / name).write_text(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree)
        ours.rsync(c, "./~" if name == "~" else name, f"{d}/{name}.copy")
        ours.rsync(c, "./", f"{d}/rest", exclude=[name.replace("*", "[*]")])
    assert c.run(f"cat {shlex.quote(f'{d}/{name}.copy')}", hide=True).stdout == name
    assert files(c, f"{d}/rest") == ["below/three.txt", "one.txt", "two.log"]


def test_rsync_takes_several_sources(pw: Patchwork, c: Connection, d: str, tree: Path, known: str) -> None:
    sources = [f"{tree}/one.txt", f"{tree}/two.log"]
    several = sources if pw.name == "ours" else " ".join(sources)
    pw.rsync(c, several, d, ssh_opts=known)
    assert files(c, d) == ["one.txt", "two.log"]


def test_rsync_uses_a_key_file_of_any_name(
    pw: Patchwork, shared_bare_server: Target, c: Connection, d: str, tree: Path, tmp_path: Path, known: str
) -> None:
    key = tmp_path / "a key % \" ' \\ $x"
    shutil.copy(shared_bare_server.key_path, key)
    key.chmod(0o600)
    with stranger(shared_bare_server) as connection:
        connection.connect_kwargs["key_filename"] = [str(key)]
        attempt(pw.rsync, connection, f"{tree}/one.txt", d, ssh_opts=f"{known} -o BatchMode=yes")
    pw.expect(files(c, d), original=[], ours=["one.txt"])


# --- gateways -----------------------------------------------------------------------------------------------


@pytest.fixture
def inside(shared_bare_server: Target) -> str:
    """A name of the server that is known on the server alone."""
    return shared_bare_server.exec(["hostname"]).stdout.decode().strip()


def behind(server: Target, host: str, gateway: Connection | str) -> Connection:
    """A connection to a host that only the gateway reaches; it knows the host's key, and takes no other."""
    connection = server.connection()
    gatewayed = Connection(
        host,
        user="deploy",
        port=22,
        gateway=gateway,
        config=connection.config,
        connect_kwargs=connection.connect_kwargs,
    )
    for key in connection.client.get_host_keys()[f"[{server.host}]:{server.ssh_port}"].values():
        gatewayed.client.get_host_keys().add(host, key.get_name(), key)
    gatewayed.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    return gatewayed


def test_rsync_goes_through_a_gateway(
    pw: Patchwork, shared_bare_server: Target, inside: str, c: Connection, d: str, tree: Path
) -> None:
    with (
        shared_bare_server.connection() as gateway,
        behind(shared_bare_server, inside, gateway) as connection,
    ):
        attempt(pw.rsync, connection, f"{tree}/one.txt", f"{d}/a b/", ssh_opts="-o BatchMode=yes")
    pw.expect(files(c, d), original=[], ours=["a b/one.txt"])


def test_rsync_goes_through_two_gateways(
    shared_bare_server: Target, inside: str, c: Connection, d: str, tree: Path, tmp_path: Path
) -> None:
    server = shared_bare_server
    key = tmp_path / "a key % ' \""
    shutil.copy(server.key_path, key)
    key.chmod(0o600)
    first = server.connection()
    second = behind(server, "127.0.0.1", first)
    second.connect_kwargs["key_filename"] = str(key)
    third = behind(server, "localhost", second)
    third.connect_kwargs["key_filename"] = str(key)
    with first, second, third, behind(server, inside, third) as connection:
        ours.rsync(connection, f"{tree}/one.txt", d)
    assert files(c, d) == ["one.txt"]


def test_rsync_goes_through_a_proxy_jump_of_ssh_config(
    shared_bare_server: Target, inside: str, c: Connection, d: str, tree: Path, tmp_path: Path
) -> None:
    server = shared_bare_server
    file = tmp_path / "ssh_config"
    file.write_text(
        f"Host gateway\n  Hostname {server.host}\n  Port {server.ssh_port}\n"
        f"Host web\n  Hostname {inside}\n  ProxyJump gateway\n"
        f"Host gateway web\n  User deploy\n  IdentityFile {server.key_path}\n"
    )
    config = fabric.Config(runtime_ssh_path=str(file), overrides={"run": {"in_stream": False}})
    connection = Connection("web", config=config)
    known = server.connection().client.get_host_keys()
    (key,) = known[f"[{server.host}]:{server.ssh_port}"].values()
    for hop, name in ((connection.gateway, f"[{server.host}]:{server.ssh_port}"), (connection, inside)):
        hop.client.get_host_keys().add(name, key.get_name(), key)
        hop.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    with connection.gateway, connection:
        ours.rsync(connection, f"{tree}/one.txt", d)
    assert files(c, d) == ["one.txt"]


def test_rsync_goes_through_a_proxy_command(
    pw: Patchwork, shared_bare_server: Target, inside: str, c: Connection, d: str, tree: Path
) -> None:
    server = shared_bare_server
    proxy = f"ssh -i {server.key_path} -o UserKnownHostsFile={server.known_hosts} -p {server.ssh_port}"
    with behind(server, inside, f"{proxy} -W %h:%p deploy@{server.host}") as connection:
        attempt(pw.rsync, connection, f"{tree}/one.txt", d, ssh_opts="-o BatchMode=yes")
    pw.expect(files(c, d), original=[], ours=["one.txt"])


def test_rsync_does_not_trust_an_unknown_gateway(
    shared_bare_server: Target, inside: str, c: Connection, d: str, tree: Path
) -> None:
    gateway = stranger(shared_bare_server)
    connection = behind(shared_bare_server, inside, gateway)
    with gateway, connection, pytest.raises(UnexpectedExit) as caught:
        ours.rsync(connection, f"{tree}/one.txt", d)
    assert "you have requested strict checking" in caught.value.result.stderr
    assert files(c, d) == []


@pytest.fixture(autouse=True)
def ssh_leaves_no_trace() -> Iterator[None]:
    """The known hosts of whoever runs the tests stay as they are."""
    path = Path("~/.ssh/known_hosts").expanduser()
    before = path.read_bytes() if path.exists() else None
    yield
    assert (path.read_bytes() if path.exists() else None) == before
