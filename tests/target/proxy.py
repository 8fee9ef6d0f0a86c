"""A TCP proxy that can cut a connection, let it fall silent without a word, or hold it up for a while."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from types import TracebackType

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything on, both ways.

    :param host: where to pass it on to.
    :param port: and to which port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._stalled = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        self.stall()
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.shutdown(socket.SHUT_RDWR)
                    end.close()
        self._pairs.clear()

    def stall(self) -> None:
        """From now on pass on nothing of the connections that are open, and close none of them; new ones work."""
        self._stalled.set()
        self._stalled = threading.Event()

    def pause(self) -> None:
        """Pass on nothing until resume(); nothing is lost."""
        self._flowing.clear()

    def resume(self) -> None:
        """Go on where pause() has stopped."""
        self._flowing.set()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self.resume()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.server)
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((near, far))
            threading.Thread(target=self._pass_on, args=(near, far, self._stalled), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket, stalled: threading.Event) -> None:
        other = {near: far, far: near}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while not stalled.is_set():
                for key, _ in selector.select(0.2):
                    self._flowing.wait()
                    piece = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if stalled.is_set():  # an end that closes now is not told either
                        return
                    if not piece:
                        near.close()
                        far.close()
                        return
                    other[key.fileobj].sendall(piece)  # type: ignore[index]
