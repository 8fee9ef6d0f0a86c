"""The application every tool deploys: a small Flask site in a git repository of many files."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

FILES = 1200
FAT_FILE_BYTES = 100_000
FAT_FILES = 250
WORDS = ["deploy", "server", "release", "switch", "prove", "answer", "quick", "brown", "dog", "while", "until"]

SITE = '''"""The site; its answer says which revision it is."""

from flask import Flask

from .revision import REVISION

app = Flask(__name__)


@app.get("/")
def home():
    return REVISION
'''
REQUIREMENTS = "flask==3.1.0\ngunicorn==23.0.0\n"
# With what they need in turn, 30 distributions.
MANY_REQUIREMENTS = (
    REQUIREMENTS
    + "requests==2.32.3\nSQLAlchemy==2.0.36\nalembic==1.14.0\npsycopg2-binary==2.9.10\nredis==5.2.1\n"
    + "PyYAML==6.0.2\npython-dateutil==2.9.0.post0\nbabel==2.16.0\npillow==11.0.0\nlxml==5.3.0\n"
    + "Flask-SQLAlchemy==3.1.1\nFlask-Login==0.6.3\nFlask-WTF==1.2.2\nstructlog==24.4.0\n"
)


class Application:
    """The application's repository.

    :param path: where; it is made.
    :param files: how many files the tree has, beside the few that matter.
    :param file_bytes: the size of each; None for some lines of text.
    :param requirements: what requirements.txt says.
    """

    def __init__(
        self,
        path: Path,
        files: int = FILES,
        file_bytes: int | None = None,
        requirements: str = REQUIREMENTS,
    ) -> None:
        self.path = path
        self.changes = 0
        (path / "shop").mkdir(parents=True)
        (path / "shop/__init__.py").write_text(SITE)
        (path / "shop/revision.py").write_text('REVISION = "0"\n')
        (path / "requirements.txt").write_text(requirements)
        some = random.Random(1)
        for number in range(files):
            folder = path / f"data/{number // 40:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            if file_bytes:  # like pictures: nothing to compress
                (folder / f"{number:04d}.bin").write_bytes(some.randbytes(file_bytes))
            else:
                (folder / f"{number:04d}.txt").write_text(text(some))
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def change(self) -> str:
        """Change one line of one file and commit it; gives what the site answers then."""
        self.changes += 1
        (self.path / "shop/revision.py").write_text(f'REVISION = "{self.changes}"\n')
        self.commit()
        return str(self.changes)

    def commit(self) -> None:
        """Commit all there is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message=Change {self.changes}")

    @property
    def revision(self) -> str:
        """The commit that is to be deployed."""
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *argv: str, input: bytes = b"") -> str:
        """Run git in the repository, untouched by anybody's configuration, and give what it prints."""
        return self.git_bytes(*argv, input=input).decode()

    def git_bytes(self, *argv: str, input: bytes = b"") -> bytes:
        """The same, as bytes."""
        command = ["git", "-C", str(self.path), *argv]
        return subprocess.run(command, env=environment(), input=input, capture_output=True, check=True).stdout


def text(some: random.Random) -> str:
    """About 2 kB of lines, as sources have them."""
    return "".join(" ".join(some.choices(WORDS, k=8)) + "\n" for _ in range(40))


def environment() -> dict[str, str]:
    """Nobody's configuration and name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "Nobody", "EMAIL": "nobody@example.net"}
    people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    return {**kept, **people, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
