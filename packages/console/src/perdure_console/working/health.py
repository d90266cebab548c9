"""Answers the probes of a supervisor: `/livez` and `/readyz`, over plain HTTP.

`/livez` answers while the event loop moves and the runtime serves its block, `/readyz` while the
storage answers too. The answer is a line of text; it never shows a URL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from perdure import Runtime
from perdure.errors import InvalidInput

_LOGGER: Final = logging.getLogger("perdure.worker")
_LONGEST_REQUEST: Final = 8 * 1024
_PATIENCE: Final = 5.0
"""Seconds for a request to come; a connection that asks nothing must not stay."""


@asynccontextmanager
async def answering(runtime: Runtime, address: str | None) -> AsyncGenerator[None]:
    """Answer at `HOST:PORT`, or at `:PORT` of every address, while the block lasts."""
    if address is None:
        yield
        return
    host, port = address_of(address)
    try:
        server = await asyncio.start_server(
            lambda reader, writer: _answer(runtime, reader, writer), host, port
        )
    except OSError as error:
        raise InvalidInput(f"--health {address} cannot be served: {error.strerror}") from None
    bound = server.sockets[0].getsockname()
    _LOGGER.info("answers /livez and /readyz at port %d", bound[1])
    try:
        yield
    finally:
        server.close()  # without waiting for connections that ask for nothing


def address_of(text: str) -> tuple[str | None, int]:
    """The host, None for every address, and the port, 0 for any; raises `InvalidInput`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{text!r} is no address; write it like :8081 or 127.0.0.1:8081")
    return host.strip("[]") or None, int(port)


async def _answer(
    runtime: Runtime, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        line = await asyncio.wait_for(reader.readline(), _PATIENCE)
        method, _, rest = line[:_LONGEST_REQUEST].decode("latin-1").partition(" ")
        status, text = _status(runtime, method, rest.partition(" ")[0].partition("?")[0])
        body = b"" if method == "HEAD" else f"{text}\n".encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
    except (OSError, TimeoutError, ValueError):
        pass  # a probe that went away
    finally:
        writer.close()


def _status(runtime: Runtime, method: str, path: str) -> tuple[str, str]:
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", "use GET"
    if path == "/livez":
        return "200 OK", "ok"
    if path != "/readyz":
        return "404 Not Found", "there are /livez and /readyz"
    if runtime.healthy:
        return "200 OK", "ok"
    last = runtime.statistics.last_error
    return "503 Service Unavailable", (
        "the runtime does not serve" if last is None else f"the storage fails at {last.operation}"
    )
