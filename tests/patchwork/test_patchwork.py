"""One suite over patchwork 1.0.1 and ours: the same where the original works, right where it does not."""

from __future__ import annotations

import inspect
import io
import shlex
import subprocess
from collections.abc import Callable, Iterator

import pytest
from fabric import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invoke.exceptions import Exit, UnexpectedExit

from fabrelease.tasks.engine import patchwork as ours
from tests.target import Target

from .conftest import Patchwork, attempt

Read = Callable[[str], str | None]
Write = Callable[[str, str], None]

# What a test of the shell's expansions uses: each would be changed if it were expanded.
HOSTILE = "a b $(touch pwned) `touch pwned` $HOME * 'single' \"double\" \\n back\\slash ; & | > #"


# --- what both have in common -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("directory", "(c, runner, path, user=None, group=None, mode=None)"),
        ("exists", "(c, runner, path)"),
        ("contains", "(c, runner, filename, text, exact=False, escape=True)"),
        ("append", "(c, runner, filename, text, partial=False, escape=True)"),
        ("distro_name", "(c)"),
        ("distro_family", "(c)"),
        ("package", "(c, *packages)"),
        (
            "rsync",
            "(c, source, target, exclude=(), delete=False, strict_host_keys=True,"
            " rsync_opts='', ssh_opts='')",
        ),
    ],
)
def test_signatures_are_the_same(pw: Patchwork, name: str, signature: str) -> None:
    found = inspect.signature(getattr(pw, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    assert str(inspect.Signature(bare)) == signature


def test_directory_makes_what_is_above_it_and_sets_owner_and_mode(
    pw: Patchwork, c: Connection, d: str
) -> None:
    for _ in range(2):
        pw.directory(c, f"{d}/a/b", user="nobody", group="daemon", mode="0710", sudo=True)
    assert c.run(f"stat -c %U:%G:%a {d}/a/b", hide=True).stdout == "nobody:daemon:710\n"
    assert c.run(f"stat -c %U:%a {d}/a", hide=True).stdout == "root:755\n"


def test_directory_takes_the_group_named_like_the_user(pw: Patchwork, c: Connection, d: str) -> None:
    pw.directory(c, f"{d}/a", user="daemon", sudo=True)
    assert c.run(f"stat -c %U:%G {d}/a", hide=True).stdout == "daemon:daemon\n"


def test_directory_fails_where_it_cannot_be_made(pw: Patchwork, c: Connection) -> None:
    with pytest.raises(UnexpectedExit):
        pw.directory(c, "/etc/hostname/a")


def test_a_tilde_is_the_home_directory(pw: Patchwork, c: Connection) -> None:
    pw.directory(c, "~/tilde")
    c.run("rmdir /home/deploy/tilde")
    assert [pw.exists(c, path) for path in ("~", "~root", "~/tilde")] == [True, True, False]


def test_exists_tells_files_directories_and_nothing_apart(pw: Patchwork, c: Connection, d: str) -> None:
    c.run(f"ln -s nowhere {d}/dangling; ln -s /etc {d}/link")
    names = ["/etc", "/etc/hostname", "/etc/nothing", f"{d}/dangling", f"{d}/link"]
    assert [pw.exists(c, name) for name in names] == [True, True, False, False, True]


def test_contains_finds_part_of_a_line_or_a_whole_one(
    pw: Patchwork, c: Connection, d: str, write: Write
) -> None:
    write(f"{d}/f", "one two\nthree\n")
    f = f"{d}/f"
    assert [pw.contains(c, f, text) for text in ("wo", "thr", "one two", "four")] == [True] * 3 + [False]
    assert [pw.contains(c, f, text, exact=True) for text in ("two", "one two", "three")] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "text", ["$HOME", "back\\slash", "-v", "'single'", "a\tb", "^.*$ [a] {2} (b|c) ?+", "naïve ☃"]
)
def test_contains_finds_special_characters(
    pw: Patchwork, c: Connection, d: str, write: Write, text: str
) -> None:
    write(f"{d}/f", f"before\n{text}\nafter\n")
    assert [pw.contains(c, f"{d}/f", text), pw.contains(c, f"{d}/f", text, exact=True)] == [True, True]


def test_contains_is_literal_unless_told(pw: Patchwork, c: Connection, d: str, write: Write) -> None:
    write(f"{d}/f", "axc 1\n")
    f = f"{d}/f"
    assert [pw.contains(c, f, "a.c"), pw.contains(c, f, "[0-9]")] == [False, False]
    regular = [pw.contains(c, f, text, escape=False) for text in ("a.c", "^(b|a)x", "[0-9]+", "^c")]
    assert regular == [True, True, True, False]
    assert pw.contains(c, f, "x", escape=False, exact=True), "exact does not count with escape=False"


def test_contains_says_no_for_a_missing_file(pw: Patchwork, c: Connection, d: str) -> None:
    assert [pw.contains(c, f"{d}/f", "a", escape=escape) for escape in (True, False)] == [False, False]


def test_append_adds_a_line_once(pw: Patchwork, c: Connection, d: str, read: Read) -> None:
    for _ in range(2):
        pw.append(c, f"{d}/f", "a line")
        pw.append(c, f"{d}/f", ["another", "a line", "a.b*c[d]", "line"])
    assert read(f"{d}/f") == "a line\nanother\na.b*c[d]\nline\n"


def test_append_returns_nothing_and_always_adds_an_empty_line(
    pw: Patchwork, c: Connection, d: str, read: Read
) -> None:
    assert [pw.append(c, f"{d}/f", "a"), pw.append(c, f"{d}/f", ""), pw.append(c, f"{d}/f", "")] == [None] * 3
    assert read(f"{d}/f") == "a\n\n\n"


def test_append_of_no_lines_makes_no_file(pw: Patchwork, c: Connection, d: str) -> None:
    pw.append(c, f"{d}/f", [])
    assert not pw.exists(c, f"{d}/f")


def test_append_partial_takes_the_beginning_of_a_line_for_the_line(
    pw: Patchwork, c: Connection, d: str, read: Read, write: Write
) -> None:
    write(f"{d}/f", "PATH=/bin:/usr/bin\n")
    pw.append(c, f"{d}/f", "PATH=", partial=True)
    pw.append(c, f"{d}/f", "bin", partial=True)
    assert read(f"{d}/f") == "PATH=/bin:/usr/bin\nbin\n"


def test_append_without_escape_takes_text_that_is_quoted_already(
    pw: Patchwork, c: Connection, d: str, read: Read
) -> None:
    pw.append(c, f"{d}/f", r"it'\''s", escape=False)
    assert read(f"{d}/f") == "it's\n"


def test_sudo_acts_as_root(pw: Patchwork, c: Connection, d: str) -> None:
    c.sudo(f"sh -c 'mkdir -m 700 {d}/r && echo secret >{d}/r/f'")
    f = f"{d}/r/f"
    assert [pw.exists(c, f), pw.exists(c, f, sudo=True)] == [False, True]
    assert [pw.contains(c, f, "secret"), pw.contains(c, f, "secret", sudo=True)] == [False, True]


def test_set_runner_chooses_runner_then_method_then_sudo(pw: Patchwork) -> None:
    class Host:
        run, sudo, admin = "run", "sudo", "admin"

    @pw.set_runner
    def show(c: Host, runner: str, one: int, two: int = 2) -> tuple[str, int, int]:
        """What show does."""
        return runner, one, two

    host = Host()
    assert (show.__name__, show.__doc__) == ("show", "What show does.")
    assert show(host, 1) == ("run", 1, 2)
    assert show(host, 1, two=3, sudo=True) == ("sudo", 1, 3)
    assert show(host, 1, sudo=True, runner_method="admin") == ("admin", 1, 2)
    assert show(host, one=1, sudo=True, runner_method="admin", runner="mine") == ("mine", 1, 2)


def test_a_runner_of_the_callers_own_runs_the_commands(pw: Patchwork, c: Connection, d: str) -> None:
    ran = []

    def runner(command: str, **kwargs: bool) -> object:
        ran.append(command)
        return c.run(command, **kwargs)

    pw.directory(c, f"{d}/a", runner=runner)
    assert pw.exists(c, f"{d}/a", runner=runner)
    assert len(ran) == 2


# --- where the original goes wrong: both outcomes are asserted ----------------------------------------------


def test_directory_with_a_space_is_one_directory(pw: Patchwork, c: Connection, d: str) -> None:
    pw.directory(c, f"{d}/a b")
    with c.cd(d):
        made = c.run("find . -mindepth 1", hide=True).stdout
    c.run("rm -rf ~/b")
    pw.expect(made, original="./a\n", ours="./a b\n")


def test_directory_runs_nothing_that_is_in_a_name(pw: Patchwork, c: Connection, d: str) -> None:
    pw.directory(c, f"{d}/$(touch {d}/pwned)")
    pw.expect(ours.exists(c, f"{d}/pwned"), original=True, ours=False)


def test_directory_takes_a_hostile_name(c: Connection, d: str) -> None:
    for name in (HOSTILE, "-p", "new\nline"):
        with c.cd(d):
            ours.directory(c, name, mode="0700")
        assert c.run(f"stat -c %a {d}/{shlex.quote(name)}", hide=True).stdout == "700\n"
    assert int(c.run(f"ls -A {d} | wc -l", hide=True).stdout) == 4, "a newline in one of three names"


def test_directory_sets_a_group_alone(pw: Patchwork, c: Connection, d: str) -> None:
    pw.directory(c, f"{d}/a", group="daemon", sudo=True)
    group = c.run(f"stat -c %U:%G {d}/a", hide=True).stdout
    pw.expect(group, original="root:root\n", ours="root:daemon\n")


def test_directory_refuses_a_mode_that_is_a_number(pw: Patchwork, c: Connection, d: str) -> None:
    try:
        pw.directory(c, f"{d}/a", mode=0o640)
        mode = c.run(f"stat -c %a {d}/a", hide=True).stdout
    except TypeError as error:
        mode = str(error)
    pw.expect(
        mode,
        original="416\n",
        ours='mode=416 is a number; write it as chmod does, in quotes: mode="0750"',
    )


def test_exists_with_two_spaces(pw: Patchwork, c: Connection, d: str) -> None:
    c.run(f"mkdir '{d}/a  b'")
    pw.expect(pw.exists(c, f"{d}/a  b"), original=False, ours=True)


def test_exists_takes_a_star_for_a_name(pw: Patchwork, c: Connection, d: str) -> None:
    c.run(f"mkdir {d}/a")
    pw.expect(pw.exists(c, f"{d}/*"), original=True, ours=False)


def test_exists_runs_nothing_that_is_in_a_name(pw: Patchwork, c: Connection, d: str) -> None:
    pw.exists(c, f"$(touch {d}/pwned)")
    pw.expect(ours.exists(c, f"{d}/pwned"), original=True, ours=False)


@pytest.mark.parametrize("text", ['say "hello"', "two\nlines", "`", "a\\"])
def test_contains_finds_what_the_original_cannot(
    pw: Patchwork, c: Connection, d: str, write: Write, text: str
) -> None:
    write(f"{d}/f", f"before\n{text}\nafter\n")
    found = [pw.contains(c, f"{d}/f", text), pw.contains(c, f"{d}/f", text, exact=True)]
    pw.expect(found, original=[False, False], ours=[True, True])


def test_contains_runs_nothing_that_is_in_a_text(pw: Patchwork, c: Connection, d: str, write: Write) -> None:
    write(f"{d}/f", "line\n")
    c.run(f"echo 'touch {d}/pwned' >{d}/run; chmod +x {d}/run")
    found = pw.contains(c, f"{d}/f", f"`{d}/run`")
    pw.expect((found, ours.exists(c, f"{d}/pwned")), original=(True, True), ours=(False, False))


def test_contains_finds_no_pattern_of_lines_in_a_text_of_several(c: Connection, d: str, write: Write) -> None:
    write(f"{d}/f", "one\nbetween\ntwo")
    texts = ["one\ntwo", "between\ntwo", "tween\ntw", "two\n"]
    assert [ours.contains(c, f"{d}/f", text) for text in texts] == [False, True, True, True]
    assert [ours.contains(c, f"{d}/f", text, exact=True) for text in texts] == [False, True, False, False]


def test_contains_reads_the_regular_expression_it_was_given(
    pw: Patchwork, c: Connection, d: str, write: Write
) -> None:
    write(f"{d}/f", 'price: $5 "net"\n')
    found = [pw.contains(c, f"{d}/f", r, escape=False) for r in (r"\$[0-9]", '"net"$', "-x|price")]
    pw.expect(found, original=[False, False, False], ours=[True, True, True])


@pytest.mark.parametrize(
    ("line", "original"),
    [
        ("it's", "failed"),
        ('say "hello"', 'say "hello"\nsay "hello"\n'),
        ("-n", ""),
        ("two\nlines", "two\nlines\ntwo\nlines\n"),
        ("$(date) `date` $HOME", "$(date) `date` $HOME\n$(date) `date` $HOME\n"),
    ],
)
def test_append_adds_any_line_once(
    pw: Patchwork, c: Connection, d: str, read: Read, line: str, original: str
) -> None:
    results = [attempt(pw.append, c, f"{d}/f", line) for _ in range(2)]
    outcome = "failed" if "failed" in results else read(f"{d}/f")
    pw.expect(outcome, original=original, ours=f"{line}\n")


@given(
    line=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_append_and_contains_carry_any_text_exactly(c: Connection, d: str, line: str) -> None:
    f = f"{d}/any"
    c.run(f"rm -f {f}")
    assert not ours.contains(c, f, line)
    for _ in range(2):
        ours.append(c, f, line)
    assert ours.contains(c, f, line, exact=True)
    held = io.BytesIO()
    c.get(f, held)
    assert held.getvalue() == f"{line}\n".encode()


def test_append_carries_a_long_line(c: Connection, d: str, read: Read) -> None:
    line = HOSTILE * 1000
    ours.append(c, f"{d}/f", line)
    ours.append(c, f"{d}/f", line)
    assert read(f"{d}/f") == f"{line}\n"


def test_append_ends_an_unended_last_line(
    pw: Patchwork, c: Connection, d: str, read: Read, write: Write
) -> None:
    write(f"{d}/f", "last")
    pw.append(c, f"{d}/f", "new")
    pw.expect(read(f"{d}/f"), original="lastnew\n", ours="last\nnew\n")


def test_append_leaves_an_unended_last_line_that_is_the_line(
    pw: Patchwork, c: Connection, d: str, read: Read, write: Write
) -> None:
    write(f"{d}/f", "last")
    pw.append(c, f"{d}/f", "last")
    assert read(f"{d}/f") == "last"


def test_append_with_sudo_writes_as_root(pw: Patchwork, c: Connection, d: str, read: Read) -> None:
    c.sudo(f"chown root {d}")
    outcome = attempt(pw.append, c, f"{d}/f", "a", sudo=True)
    pw.expect((outcome, read(f"{d}/f")), original=("failed", None), ours=(None, "a\n"))


def test_append_to_a_file_with_a_space(pw: Patchwork, c: Connection, d: str, read: Read) -> None:
    for _ in range(2):
        attempt(pw.append, c, f"{d}/a b", "line")
    pw.expect((read(f"{d}/a b"), read(f"{d}/a")), original=(None, "line b\nline b\n"), ours=("line\n", None))


def test_append_below_the_home_directory_adds_once(pw: Patchwork, c: Connection, read: Read) -> None:
    for _ in range(2):
        pw.append(c, "~/below-home", "line")
    held = read("/home/deploy/below-home")
    c.run("rm ~/below-home")
    pw.expect(held, original="line\nline\n", ours="line\n")


def test_append_fails_where_it_cannot_read(c: Connection, d: str, read: Read) -> None:
    c.sudo(f"sh -c 'echo a >{d}/f && chmod 222 {d}/f'")
    with pytest.raises(UnexpectedExit, match="append"):
        ours.append(c, f"{d}/f", "append")
    assert read(f"{d}/f") == "a\n"


# --- distributions and packages -----------------------------------------------------------------------------


RELEASE_FILES = ("/etc/os-release", "/usr/lib/os-release", "/etc/debian_version")


@pytest.fixture
def restored_release(shared_bare_server: Target) -> Iterator[Target]:
    """A server without any release file; they are put back afterwards."""
    server = shared_bare_server
    server.exec(["tar", "-cPf", "/kept.tar", *RELEASE_FILES])
    server.exec(["rm", *RELEASE_FILES])
    yield server
    server.exec(["sh", "-c", "rm -f /etc/*-release /usr/lib/os-release"])
    server.exec(["tar", "-xPf", "/kept.tar"])


def test_debian_is_debian(pw: Patchwork, c: Connection) -> None:
    names = (pw.distro_name(c), pw.distro_family(c))
    pw.expect(names, original=("other", "other"), ours=("debian", "debian"))


@pytest.mark.parametrize(
    ("release", "name", "family"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu", "debian"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu", "debian"),
        ("ID=raspbian\nID_LIKE=debian\n", "debian", "debian"),
        ("ID=fedora\nVARIANT='Server Edition'\n", "fedora", "redhat"),
        ('ID="rhel"\nID_LIKE="fedora"\n', "rhel", "redhat"),
        ('ID="centos"\nID_LIKE="rhel fedora"\n', "centos", "redhat"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "rhel", "redhat"),
        ('ID="amzn"\nID_LIKE="fedora"\n', "fedora", "redhat"),
        ("ID=alpine\n", "other", "other"),
        ('NAME="no id"\n', "other", "other"),
    ],
)
@pytest.mark.parametrize("place", ["/etc/os-release", "/usr/lib/os-release"])
def test_os_release_names_the_distribution(
    c: Connection, restored_release: Target, place: str, release: str, name: str, family: str
) -> None:
    restored_release.exec(["dd", f"of={place}"], input=release.encode())
    assert (ours.distro_name(c), ours.distro_family(c)) == (name, family)


@pytest.mark.parametrize(
    ("files", "name", "family"),
    [
        (["fedora-release", "redhat-release"], "fedora", "redhat"),
        (["centos-release", "redhat-release"], "centos", "redhat"),
        ([], "other", "other"),
    ],
)
def test_release_files_name_the_distribution_where_there_is_no_os_release(
    pw: Patchwork, c: Connection, restored_release: Target, files: list[str], name: str, family: str
) -> None:
    for file in files:
        restored_release.exec(["touch", f"/etc/{file}"])
    assert (pw.distro_name(c), pw.distro_family(c)) == (name, family)


@pytest.mark.parametrize(
    ("file", "name", "family"),
    [("redhat-release", "rhel", "redhat"), ("debian_version", "debian", "debian")],
)
def test_more_release_files_than_the_original_knew(
    pw: Patchwork, c: Connection, restored_release: Target, file: str, name: str, family: str
) -> None:
    restored_release.exec(["touch", f"/etc/{file}"])
    pw.expect((pw.distro_name(c), pw.distro_family(c)), original=("other", "other"), ours=(name, family))


def test_package_installs_on_debian(pw: Patchwork, c: Connection, shared_bare_server: Target) -> None:
    outcome = attempt(pw.package, c, "rsync", "tree")
    installed = shared_bare_server.exec(["sh", "-c", "dpkg -s rsync tree"], check=False).returncode == 0
    pw.expect((outcome, installed), original=("failed", False), ours=(None, True))


def test_package_fetches_the_package_lists_where_there_are_none(
    c: Connection, shared_bare_server: Target
) -> None:
    shared_bare_server.exec(["sh", "-c", "rm -rf /var/lib/apt/lists/*"])
    ours.package(c, "sl")
    assert shared_bare_server.exec(["dpkg", "-s", "sl"]).returncode == 0


def test_package_installs_all_or_none(c: Connection, shared_bare_server: Target, d: str) -> None:
    with pytest.raises(UnexpectedExit):
        ours.package(c, "hello", f"no such package; touch {d}/pwned")
    assert shared_bare_server.exec(["dpkg", "-s", "hello"], check=False).returncode != 0
    assert not ours.exists(c, f"{d}/pwned")


def test_package_takes_no_name_for_an_option(c: Connection) -> None:
    with pytest.raises(UnexpectedExit) as caught:
        ours.package(c, "--version")
    assert "Unable to locate package --version" in caught.value.result.stderr


def test_package_of_nothing_does_nothing(pw: Patchwork, c: Connection) -> None:
    assert pw.package(c) is None


def test_package_refuses_a_distribution_it_does_not_know(c: Connection, restored_release: Target) -> None:
    restored_release.exec(["dd", "of=/etc/os-release"], input=b"ID=alpine\n")
    with pytest.raises(Exit, match="Install there by hand: tree sl"):
        ours.package(c, "tree", "sl")


SPEC = """\
Name: fabrelease-sample
Version: 1
Release: 1
Summary: A package of a test's own
License: BSD
BuildArch: noarch
%description
Nothing.
%files
"""
REPOSITORY = "[sample]\nname=sample\nbaseurl=file:///srv/sample\nenabled=1\ngpgcheck=0\n"


FEDORA = "rm /etc/os-release; echo ID=fedora >/etc/os-release; touch /etc/fedora-release"


@pytest.fixture(scope="module")
def redhat(image: str) -> Iterator[Target]:
    """A server that has dnf, says that it is Fedora, and knows one repository with one package."""
    with Target.start(image) as server:
        with server.connection() as connection:
            ours.package(connection, "dnf", "rpm", "createrepo-c")
        server.exec(["mkdir", "-p", "/srv/sample", "/etc/yum.repos.d"])
        server.exec(["dd", "of=/srv/sample.spec"], input=SPEC.encode())
        server.exec(["rpmbuild", "-bb", "--define", "_rpmdir /srv/sample", "/srv/sample.spec"])
        server.exec(["createrepo_c", "/srv/sample"])
        server.exec(["dd", "of=/etc/yum.repos.d/sample.repo"], input=REPOSITORY.encode())
        server.exec(["sh", "-c", FEDORA])
        yield server


@pytest.mark.parametrize("managers", [("dnf", "yum"), ("yum",)], ids=["dnf and yum", "yum alone"])
def test_package_installs_on_red_hats_family(
    pw: Patchwork, redhat: Target, managers: tuple[str, ...]
) -> None:
    redhat.exec(["rpm", "-e", "fabrelease-sample"], check=False)
    redhat.exec(["rm", "-f", "/usr/bin/dnf", "/usr/bin/yum"])
    for manager in managers:
        redhat.exec(["ln", "-s", "dnf-3", f"/usr/bin/{manager}"])
    with redhat.connection() as connection:
        outcome = attempt(pw.package, connection, "fabrelease-sample")
    installed = redhat.exec(["rpm", "-q", "fabrelease-sample"], check=False).returncode == 0
    pw.expect((outcome, installed), original=("failed", False), ours=(None, True))


def test_package_takes_no_name_for_an_option_of_dnf(redhat: Target) -> None:
    with redhat.connection() as connection, pytest.raises(UnexpectedExit) as caught:
        ours.package(connection, "--version")
    assert "No match for argument: --version" in caught.value.result.stdout


# --- the scripts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["_DIRECTORY", "_CONTAINS", "_APPEND", "_DISTRIBUTION", "_APT", "_DNF"])
def test_scripts_are_clean_to_shellcheck(name: str) -> None:
    command = ["shellcheck", "--shell=sh", "-"]
    found = subprocess.run(command, input=getattr(ours, name), capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
