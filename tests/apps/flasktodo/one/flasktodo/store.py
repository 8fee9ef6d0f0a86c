import sqlite3
from contextlib import closing


def prepare(path):
    with closing(sqlite3.connect(path, timeout=20)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS todo (text TEXT NOT NULL)")


def add(path, text):
    with closing(sqlite3.connect(path, timeout=20)) as db, db:
        db.execute("INSERT INTO todo VALUES (?)", [text])


def items(path):
    with closing(sqlite3.connect(path, timeout=20)) as db:
        return [text for (text,) in db.execute("SELECT text FROM todo ORDER BY rowid")]
