"""An ASGI application: the questions of tinysite, and connections that stay.

GET  /                what is asked with ?key= comes back
GET  /slow?seconds=1  the same, later
POST /echo?key=       the body comes back; the key is written down, once for each time this is executed
GET  /where/…         what the application is told about the request
GET  /events/         server-sent events without an end: the revision, again and again
WS   /ws/             each message comes back, after the revision
Every answer says which revision and release gave it.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from revision import REVISION
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

RELEASE = Path(__file__).resolve().parents[1].name
DATA = Path(__file__).resolve().parent / "data"
HEADERS = {"X-Revision": REVISION, "X-Release": RELEASE, "X-Configuration": os.environ.get("CONFIGURATION", "")}
LIFE = []  # the lifespan events of this process


def write_down(name, line):
    """One short line appended by one write: lines of several workers do not mix."""
    handle = os.open(DATA / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
    sys.stderr.write(f"{name} {line}\n")


@contextlib.asynccontextmanager
async def lifespan(app):
    LIFE.append("startup")
    write_down("lifespan", f"startup {RELEASE}")
    yield
    write_down("lifespan", f"shutdown {RELEASE}")


def answer(request):
    key = request.query_params.get("key", "")
    return PlainTextResponse(f"revision: {REVISION}\nkey: {key}\n", headers=HEADERS)


async def home(request):
    return answer(request)


async def slow(request):
    await asyncio.sleep(float(request.query_params["seconds"]))
    return answer(request)


async def echo(request):
    body = await request.body()
    write_down("executed", request.query_params["key"])
    return PlainTextResponse(body, headers=HEADERS)


async def where(request):
    told = {
        "path": request.scope["path"],
        "root_path": request.scope.get("root_path", ""),
        "scheme": request.scope["scheme"],
        "client": request.client and request.client.host,
        "url": str(request.url_for("home")),
        "life": LIFE,
        "pid": os.getpid(),
    }
    return JSONResponse(told, headers=HEADERS)


async def events(request):
    async def endless():
        while True:
            yield f"data: {REVISION}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(endless(), media_type="text/event-stream", headers=HEADERS)


async def talk(websocket):
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(f"{REVISION} {message}")


application = Starlette(
    routes=[
        Route("/", home, name="home"),
        Route("/slow", slow),
        Route("/echo", echo, methods=["POST"]),
        Route("/where/{rest:path}", where),
        Route("/events/", events),
        WebSocketRoute("/ws/", talk),
    ],
    lifespan=lifespan,
)
