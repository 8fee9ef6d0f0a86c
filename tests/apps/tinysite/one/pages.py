"""Tinysite, and more for what nginx does by path.

GET  /page/…?cookie=&private=   never the same answer twice; it may set a cookie, or be for one person alone
GET  /told/…                    what this application was told of the request, as JSON
POST /upload/…                  answered once the body is there; below /upload/now/ once it has begun
GET  /big/?size=                so many bytes
"""

import json
import time
from urllib.parse import parse_qs

from revision import REVISION
from tinysite import application as tinysite


def application(environ, start_response):
    kind = environ["PATH_INFO"].split("/")[1]
    if kind not in PAGES:
        return tinysite(environ, start_response)
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    body, headers = PAGES[kind](environ, query)
    start_response("200 OK", [*headers, ("Content-Length", str(len(body))), ("X-Revision", REVISION)])
    return [body]


def page(environ, query):
    headers = [("Content-Type", "text/plain"), ("X-Frame-Options", "DENY")]
    if "cookie" in query:
        headers.append(("Set-Cookie", "seen=1"))
    if "private" in query:
        headers.append(("Cache-Control", "private"))
    time.sleep(float(query.get("seconds", 0)))
    return f"{REVISION} {time.monotonic_ns()}".encode(), headers


def told(environ, query):
    texts = {name: value for name, value in environ.items() if isinstance(value, str)}
    shown = {**texts, "scheme": environ["wsgi.url_scheme"]}
    return json.dumps(shown).encode(), [("Content-Type", "application/json")]


def upload(environ, query):
    begun = environ["PATH_INFO"].startswith("/upload/now/")
    environ["wsgi.input"].read(1 if begun else int(environ["CONTENT_LENGTH"]))
    return b"thank you", []


def big(environ, query):
    return b"x" * int(query["size"]), []


PAGES = {"page": page, "told": told, "upload": upload, "big": big}
