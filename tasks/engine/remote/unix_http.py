"""HTTP over a unix socket as well as TCP."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable


def connect(address: str, timeout: float) -> socket.socket:
    """Connect to ``unix:PATH`` or ``HOST:PORT``.

    :param timeout: seconds, for connecting and for each read afterwards.
    """
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address[len("unix:") :])
    except OSError:
        sock.close()
        raise
    return sock


class Connection(http.client.HTTPConnection):
    """An HTTP connection to an address.

    :param address: ``unix:PATH`` or ``HOST:PORT``.
    :param timeout: seconds for connecting and for each read.
    :param connector: what connects; a stand-in can do it with another user's rights.
    """

    def __init__(
        self, address: str, timeout: float, connector: Callable[[str, float], socket.socket] = connect
    ) -> None:
        super().__init__("localhost", timeout=timeout)
        self.address, self.seconds, self.connector = address, timeout, connector

    def connect(self) -> None:
        """Open the connection."""
        self.sock = self.connector(self.address, self.seconds)
