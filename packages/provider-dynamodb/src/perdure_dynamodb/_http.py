"""A pool of HTTP/1.1 connections to one endpoint: POST, and nothing that DynamoDB does not use.

An answer has a length, and a connection carries one request at a time. A connection is kept for a
while after its answer. Whatever goes wrong closes it, and the caller does not know whether the request
had an effect.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

LONGEST_CONNECT = 3.0
LONGEST_ANSWER = 8.0
"""Real seconds, as for the driver."""
KEPT = 50.0
"""Seconds that an unused connection is kept."""
MOST = 64
"""Connections at once."""
_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with its headers, whose names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float


class Pool:
    """Connections to one endpoint, until it is closed."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self.host = url.netloc
        self._name = url.hostname or ""
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._idle: list[_Connection] = []
        self._gate = asyncio.Semaphore(MOST)

    async def post(self, headers: Mapping[str, str], body: bytes) -> Response:
        """The answer to a POST; raises `OSError` or `TimeoutError` where there is none."""
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST / HTTP/1.1\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n"
        async with self._gate, self._connection() as connection:
            connection.writer.write(head.encode("latin-1") + body)
            async with asyncio.timeout(LONGEST_ANSWER):
                await connection.writer.drain()
                try:
                    return await _read(connection.reader)
                except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                    raise ConnectionError(f"the answer is cut short: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().writer.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[_Connection]:
        now = asyncio.get_running_loop().time()
        connection = self._kept(now) or await self._connect(now)
        try:
            yield connection
        except BaseException:
            connection.writer.close()
            raise
        connection.used_at = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def _kept(self, now: float) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            is_open = not connection.reader.at_eof() and not connection.writer.is_closing()
            if is_open and now - connection.used_at < KEPT:
                return connection
            connection.writer.close()
        return None

    async def _connect(self, now: float) -> _Connection:
        async with asyncio.timeout(LONGEST_CONNECT):
            reader, writer = await asyncio.open_connection(
                self._name, self._port, ssl=self._tls, limit=_HEAD_BYTES
            )
        return _Connection(reader, writer, now)


async def _read(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, sign, value in (line.partition(":") for line in lines)
        if sign
    }
    try:
        status, length = int(status_line.split(" ", 2)[1]), int(headers["content-length"])
    except (IndexError, KeyError, ValueError):
        raise ConnectionError(
            f"the answer begins with {status_line[:40]!r} and has no length"
        ) from None
    body = await reader.readexactly(length)
    if headers.get("connection", "").lower() == "close":
        # The pool takes it for closed before the end arrives.
        reader.feed_eof()
    return Response(status, headers, body)
