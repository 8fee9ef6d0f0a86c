"""Clients that never stop asking, and check every answer."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

HOST = b"demo.example.net"
PATIENCE = 60.0  # seconds for one answer
SLOW = (0.3, 1.0, 2.5)  # seconds that a slow request takes


class Wrong(Exception):
    """An answer that is not as it must be."""


@dataclasses.dataclass
class Answer:
    """What one request got."""

    status: int
    release: str
    revision: str
    body: bytes
    closes: bool


class Sequence:
    """The releases in the order in which they became live, as the answers show it.

    Each cutover may bring one release that was not live before it, and no answer may come from an older
    one than an answer that was complete before its request was sent.
    """

    def __init__(self, live: str) -> None:
        self.seen = [live]
        self.begun = 0

    def begin(self) -> None:
        """A cutover begins: from now on the next release may answer."""
        if self.begun != len(self.seen) - 1:
            raise Wrong(f"the new release never answered before the next cutover, {self.begun + 1}, began")
        self.begun += 1

    @property
    def newest(self) -> int:
        """How many releases came after the first."""
        return len(self.seen) - 1

    def check(self, release: str, newest_when_sent: int) -> None:
        """Check one answer.

        :param newest_when_sent: what ``newest`` was when the request was sent.
        """
        if release in self.seen[newest_when_sent:]:
            return
        if self.newest < self.begun:
            self.seen.append(release)
        elif release in self.seen:
            raise Wrong(f"went back: {release} answered after {self.seen[newest_when_sent]} had")
        else:
            raise Wrong(f"{release} answered, and no cutover to it had begun")


class Load:
    """Some clients side by side, in a thread of their own, until they are told to stop.

    :param address: nginx's, host and port.
    :param live: the release that is live now.
    :param clients: how many ask at the same time; half of them connect anew for each request.
    :param slow: the share of requests that take long.
    :param label: makes keys of this load differ from those of any other.
    :param reloads: nginx is reloaded meanwhile: it closes kept connections, and what was sent on one just then is sent
        again on another, as every browser does (RFC 9112, 9.3.1).
    """

    def __init__(
        self,
        address: tuple[str, int],
        live: str,
        *,
        clients: int = 12,
        slow: float = 0.005,
        label: str = "",
        reloads: bool = False,
    ) -> None:
        self.address = address
        self.sequence = Sequence(live)
        self.clients = clients
        self.slow = slow
        self.label = label
        self.reloads = reloads
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self.posted: dict[str, bool] = {}  # key to whether it was answered
        self.slowest = 0.0
        self.began = time.monotonic()
        self._numbers = itertools.count()
        self._random = random.Random(label)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE + 10)
        if self._thread.is_alive():
            self.failures.append("the clients did not come to an end")

    @property
    def answered(self) -> int:
        """How many requests were answered rightly."""
        return self.done.total()

    def wait(self, count: int, deadline: float) -> None:
        """Wait until so many requests were answered.

        :param deadline: by time.monotonic(), when to give up.
        """
        while self.answered < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.answered} of {count} requests were answered in time")
            time.sleep(0.05)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(keep=bool(number % 2)) for number in range(self.clients)))

    async def _client(self, keep: bool) -> None:
        connection: Connection | None = None
        for kind, path, body in self._requests():
            key = path.partition("key=")[2]
            sent, newest = time.monotonic(), self.sequence.newest
            try:
                connection = connection or await Connection.open(self.address)
                try:
                    answer = await asyncio.wait_for(connection.ask(path, body, keep), PATIENCE)
                except (ConnectionError, asyncio.IncompleteReadError) as error:
                    if not self.reloads or not connection.answered or getattr(error, "partial", b""):
                        raise
                    connection.close()
                    connection = await Connection.open(self.address)
                    answer = await asyncio.wait_for(connection.ask(path, body, keep), PATIENCE)
                self._check(key, body, answer, newest)
                self.done[kind] += 1
                self.posted.update({key: True} if body is not None else {})
                if not keep or answer.closes:
                    connection = connection.close()
            except (OSError, EOFError, ValueError, Wrong, asyncio.TimeoutError) as error:
                self.failures.append(f"{time.time():.3f} {kind} {path}: {type(error).__name__} {error}")
                connection = connection and connection.close()
                await asyncio.sleep(0.05)
            self.slowest = max(self.slowest, time.monotonic() - sent)
        if connection is not None:
            connection.close()

    def _requests(self) -> Iterator[tuple[str, str, bytes | None]]:
        while not self._stop.is_set():
            key = f"{self.label}-{next(self._numbers)}"
            if self._random.random() < self.slow:
                yield "slow GET", f"/slow?seconds={self._random.choice(SLOW)}&key={key}", None
            elif self._random.random() < 0.3:
                self.posted[key] = False
                yield "POST", f"/echo?key={key}", (key + " " + "x" * self._random.randrange(3000)).encode()
            else:
                yield "GET", f"/?key={key}", None

    def _check(self, key: str, body: bytes | None, answer: Answer, newest: int) -> None:
        if answer.status != 200:
            raise Wrong(f"status {answer.status}: {answer.body[:80]!r}")
        wanted = f"revision: {answer.revision}\nkey: {key}\n".encode() if body is None else body
        if answer.body != wanted:
            raise Wrong(f"the body is {answer.body[:80]!r}")
        self.sequence.check(answer.release, newest)


class Connection:
    """One connection to nginx."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answered = 0

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Connection:
        return cls(*await asyncio.open_connection(*address))

    async def ask(self, path: str, body: bytes | None, keep: bool) -> Answer:
        """Send one request and read its answer.

        :param body: of a POST; a GET where it is None.
        """
        method = b"GET" if body is None else b"POST"
        lines = [
            b"%s %s HTTP/1.1" % (method, path.encode()),
            b"Host: " + HOST,
            b"Connection: " + (b"keep-alive" if keep else b"close"),
            *([] if body is None else [b"Content-Length: %d" % len(body)]),
        ]
        self.writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""))
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        content = await self.reader.readexactly(int(headers["content-length"]))
        self.answered += 1
        return Answer(
            int(head[0].split()[1]),
            headers.get("x-release", ""),
            headers.get("x-revision", ""),
            content,
            headers.get("connection", "").lower() == "close",
        )

    def close(self) -> None:
        self.writer.close()
