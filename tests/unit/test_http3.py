"""HTTP/3 by the rendered configuration, with an nginx that has it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

from tests import nginxes
from tests.integration.support import own_certificate

from .test_templates import free_port, needs_programs, secure_site, wait_for, write_nginx

DOMAIN = "demo.example.net"


class Client(QuicConnectionProtocol):
    """One that asks one thing after another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers: asyncio.Queue[dict[bytes, bytes]] = asyncio.Queue()

    def quic_event_received(self, event: Any) -> None:
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.answers.put_nowait(dict(found.headers))

    async def ask(self, path: str) -> dict[bytes, bytes]:
        stream = self._quic.get_next_available_stream_id()
        names = {":method": "GET", ":scheme": "https", ":authority": DOMAIN, ":path": path}
        self.http.send_headers(stream, [(key.encode(), value.encode()) for key, value in names.items()], end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self.answers.get(), 20)


def configuration(name: str) -> QuicConfiguration:
    return QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=name, verify_mode=ssl.CERT_NONE)


@contextmanager
def site_with_http3(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """nginx with a site whose application does not run."""
    try:
        argv = nginxes.ensure("trixie")
    except nginxes.CannotBeHad as error:
        pytest.skip(str(error))
    own_certificate(folder)
    for name, there in (("site.pem", "fullchain.pem"), ("site.key", "privkey.pem")):
        (folder / name).rename(folder / there)
    (folder / "root/logs").mkdir(parents=True)
    text = secure_site((1, 26, 3), str(folder), str(folder / "root"), (free_port(), port), quic=True, tls={"http3": True})
    main = write_nginx(folder, text)
    with subprocess.Popen([*argv, "-g", "daemon off;", "-p", folder, "-c", main]) as process:
        try:
            wait_for(lambda: (folder / "nginx.pid").exists(), "nginx to run")
            yield process
        finally:
            process.terminate()


async def asked(port: int, name: str, path: str) -> dict[bytes, bytes]:
    async with connect("127.0.0.1", port, configuration=configuration(name), create_protocol=Client) as client:
        assert isinstance(client, Client)
        return await client.ask(path)


@needs_programs
def test_a_domain_is_asked_by_http3_and_a_name_that_nobody_has_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with site_with_http3(tmp_path, port):
        assert asyncio.run(asked(port, DOMAIN, "/"))[b":status"] == b"502"  # nginx has asked the application
        with pytest.raises(ConnectionError):
            asyncio.run(asked(port, "nobody.example.net", "/"))
