"""The smallest application that can tell what a cutover did to it: it costs next to nothing to ask.

GET  /                what is asked with ?key= comes back
GET  /slow?seconds=1  the same, later
POST /echo?key=       the body comes back; the key is written down, once for each time this is executed
Every answer says which revision, release and configuration gave it.
"""

import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

from revision import REVISION

RELEASE = Path(__file__).resolve().parents[1].name
CONFIGURATION = os.environ.get("CONFIGURATION", "")
EXECUTED = Path(__file__).resolve().parent / "data" / "executed"


def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    key = query.get("key", [""])[0]
    status, body = "200 OK", f"revision: {REVISION}\nkey: {key}\n".encode()
    if environ["PATH_INFO"] == "/slow":
        time.sleep(float(query["seconds"][0]))
    elif environ["PATH_INFO"] == "/echo":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        write_down(key)
    elif environ["PATH_INFO"] != "/":
        status, body = "404 Not Found", b"no such page\n"
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(body))),
        ("X-Revision", REVISION),
        ("X-Release", RELEASE),
        ("X-Configuration", CONFIGURATION),
    ]
    start_response(status, headers)
    return [body]


def write_down(key):
    """One short line appended by one write: lines of several workers do not mix."""
    handle = os.open(EXECUTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, f"{key}\n".encode())
    finally:
        os.close(handle)
    sys.stderr.write(f"executed {key}\n")
