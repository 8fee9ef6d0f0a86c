"""Names and passwords that nginx asks for: read from the file of secrets, hashed here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bcrypt
import pytest

from fabrelease.tasks.engine import passwords
from fabrelease.tasks.engine.errors import UsageError
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings


def settings(folder: Path, line: str) -> Settings:
    (folder / "prod.env").write_text(f"OTHER=1\n{line}\n")
    site = {"paths": {"/admin/": {"basic_auth": "USERS"}}}
    return example_settings(secrets="prod.env", project=folder, site=site)


def test_passwords_are_hashed_the_same_way_each_time_and_hashes_are_left_as_they_are(tmp_path: Path) -> None:
    given = settings(tmp_path, "USERS='alice:a:b$c bob:$6$salt$hash'")
    text = passwords.file_of(given, "USERS", "key")
    alice, bob = text.splitlines()
    assert bcrypt.checkpw(b"a:b$c", alice.removeprefix("alice:").encode())
    assert bob == "bob:$6$salt$hash"
    assert passwords.file_of(given, "USERS", "key") == text
    assert passwords.file_of(given, "USERS", "another host's") != text
    assert passwords.variables(given) == {"USERS"}
    assert passwords.of_application(given) == {"OTHER": "1"}


def test_a_hash_of_openssl_is_taken_for_one(programs: None, tmp_path: Path) -> None:
    made = subprocess.run(["openssl", "passwd", "-6", "x"], capture_output=True, text=True, check=True).stdout.strip()
    assert passwords.file_of(settings(tmp_path, f"USERS='a:{made}'"), "USERS", "key") == f"a:{made}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "there is no USERS in prod.env"),
        ("USERS=", "there is no USERS in prod.env"),
        ("USERS=hunter2", "entry 1 of USERS is no name:password"),
        ("USERS='a:hunter2 :hunter2'", "entry 2 of USERS is no name:password"),
        ("USERS='a:hunter2 a:hunter2'", "entry 2 of USERS is no name:password, or its name is there twice"),
        (f"USERS=a:hunter2{'x' * 70}", "more than 72 bytes"),
    ],
)
def test_what_cannot_be_a_name_and_password_is_refused_without_saying_it(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        passwords.check(settings(tmp_path, line))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
