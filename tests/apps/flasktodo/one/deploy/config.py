# The list is kept beside this file, where it outlives releases.
from pathlib import Path

TODO_DB = Path(__file__).parent / "data" / "todo.sqlite3"
GREETING = "Things to do"
