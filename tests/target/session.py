"""A picture of a terminal in which a deploy is typed, looked at and taken back, on the demo's server.

    python -m tests.target.session

types the commands for real, and writes docs/session.svg.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from . import demo

PICTURE = demo.ROOT / "docs/session.svg"
COLUMNS = 118
COMMANDS = (["-H", "demo", "deploy"], ["-H", "demo", "releases"], ["-H", "demo", "rollback"])
# Without the fonts that it would fetch: a page that shows a picture does not let it.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> int:
    """Gives the demo's exit status where it cannot be started."""
    if status := demo.up():
        return status
    change(demo.DIRECTORY / "app")
    PICTURE.write_text(draw([(words, typed(words)) for words in COMMANDS]))
    demo.say(f"wrote {PICTURE}")
    return 0


def change(repository: Path) -> None:
    """A commit that is not live yet."""
    with (repository / "pages/static/pages/style.css").open("a") as file:
        file.write("main { max-width: 40em }\n")
    git = ["git", "-C", str(repository), "-c", "user.name=Ann", "-c", "user.email=ann@example.net"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "Make the page easier to read"], check=True)


def typed(words: Sequence[str]) -> str:
    """What a command prints, with its colours."""
    done = subprocess.run(
        [sys.executable, "-m", "fabric", *words],
        cwd=demo.ROOT,
        env={**os.environ, "FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def draw(session: Sequence[tuple[Sequence[str], str]]) -> str:
    """The commands, each with what it printed, as SVG."""
    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, record=True, width=COLUMNS, force_terminal=True, legacy_windows=False)
        for words, printed in session:
            console.print(Text.assemble(("$ ", "bold green"), (f"fab {' '.join(words)}", "bold")))
            console.print(Text.from_ansi(printed.rstrip()))
            console.print()
        return console.export_svg(title="fabrelease", theme=MONOKAI, code_format=FORMAT, unique_id="session")


if __name__ == "__main__":
    sys.exit(main())
