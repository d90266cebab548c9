"""Answers the probes of a supervisor over HTTP, with the standard library alone.

`/live` answers as long as the event loop moves, and `/ready` while the runtime runs and its
storage answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import perdure


@asynccontextmanager
async def answer_probes(runtime: perdure.Runtime, port: int) -> AsyncGenerator[None]:
    """Serve both paths on every address of this machine while the block lasts."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(runtime), port=port)
    try:
        yield
    finally:
        server.close()  # without waiting for connections that ask for nothing


class _Connection(asyncio.Protocol):
    """The first bytes are the request, and its answer ends the connection."""

    _transport: asyncio.Transport

    def __init__(self, runtime: perdure.Runtime) -> None:
        self._runtime = runtime

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1:2]
        good = path == [b"/live"] or (path == [b"/ready"] and self._runtime.healthy)
        status = b"200 OK" if good else b"503 Service Unavailable"
        self._transport.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
        self._transport.close()
