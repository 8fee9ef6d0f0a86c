"""A TCP proxy that holds each byte back, as a long line would, and counts what passes.

Not every kernel has netem, and this needs no root.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

PIECE = 1 << 16


@dataclass
class Traffic:
    """What went through: ``turns`` counts how often the direction changed from down to up."""

    connections: int = 0
    up: int = 0
    down: int = 0
    turns: int = 0
    direction: str = ""

    def note(self, direction: str, size: int) -> None:
        """Count one piece."""
        setattr(self, direction, getattr(self, direction) + size)
        if direction == "up" and self.direction == "down":
            self.turns += 1
        self.direction = direction

    @property
    def bytes(self) -> int:
        """Both ways together."""
        return self.up + self.down


class Line:
    """A proxy to one port.

    :ivar port: where it listens on 127.0.0.1.
    :ivar rtt: seconds a byte and its answer are held back, together.
    :ivar traffic: what passed since the last reset.
    """

    def __init__(self, target: int, rtt: float) -> None:
        self.target = target
        self.rtt = rtt
        self.port = 0
        self.traffic = Traffic()

    def reset(self) -> None:
        """Count from nothing again."""
        self.traffic = Traffic()

    async def serve(self, ready: threading.Event) -> None:
        """Listen until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await self._stop.wait()

    def stop(self) -> None:
        """Listen no more; what is connected is cut off."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.traffic.connections += 1
        if self.rtt:
            await asyncio.sleep(self.rtt)  # the handshake of TCP itself
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for end in (writer, there_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Cancelled is how a connection ends that is still open when the line is taken away.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._carry(reader, there_writer, "up"), self._carry(there_reader, writer, "down"))
        for end in (writer, there_writer):
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        """Read as it comes, write what has been on its way for long enough; as long as the line, as many bytes."""
        loop = asyncio.get_running_loop()
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, piece = await held.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not piece:
                    return writer.close()
                writer.write(piece)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(PIECE):
                self.traffic.note(way, len(piece))
                held.put_nowait((loop.time() + self.rtt / 2, piece))
        held.put_nowait((loop.time() + self.rtt / 2, b""))
        with contextlib.suppress(ConnectionError):
            await delivering


@contextlib.contextmanager
def line(target: int, rtt: float) -> Iterator[Line]:
    """A proxy to 127.0.0.1:*target* with a round trip of *rtt* seconds, for as long as the block runs."""
    proxy, ready = Line(target, rtt), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready)), daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the delaying proxy did not start")
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join(10)
