"""Outages: from a chosen request on, every request of a provider goes wrong on the network.

The requests are signed and sent by the package's own code, over connections that fail: so what the
provider gets is what it gets from a network that fails. Repeats wait for nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from perdure_conformance.tampering import Outage

from perdure_dynamodb._direct import Credentials, DirectCalls, Signer
from perdure_dynamodb._http import Pool, Response
from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._table import Table
from perdure_dynamodb._transport import Answer, Calls, Parameters

Post = Callable[[], Response]
"""What comes of a request."""


def _raising(error: Exception) -> Post:
    def post() -> Response:
        raise error

    return post


def _answering(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Post:
    return lambda: Response(status, headers or {}, body)


def _refusing(status: int, code: str) -> Post:
    return _answering(status, json.dumps({"__type": code, "message": "injected"}).encode())


COMES_OF: Final[dict[Outage, Post]] = {
    Outage(name="the connection is cut", passes=True): _raising(ConnectionResetError("reset")),
    Outage(name="no answer comes", passes=True): _raising(TimeoutError()),
    Outage(name="a portal answers", passes=True): _answering(200, b"<html>Log in</html>"),
    Outage(name="an answer is spoiled", passes=True): _answering(
        200, b"{}", {"x-amz-crc32": "none"}
    ),
    Outage(name="the server fails", passes=True): _answering(503, b"unavailable"),
    Outage(name="the table is throttled", passes=True): _refusing(400, "ThrottlingException"),
    Outage(name="access is denied", passes=False): _refusing(400, "AccessDeniedException"),
}
"""What comes of each request in each outage."""

DIFFERENT: Final = tuple(COMES_OF)[:1] + tuple(COMES_OF)[-1:]
"""Outages that reach the provider as different errors, for a run in which requests take long."""


class _BrokenPool(Pool):
    """Connections to nowhere."""

    def __init__(self, comes: Post) -> None:
        super().__init__("http://nowhere.invalid")
        self._comes = comes

    async def post(self, headers: Mapping[str, str], body: bytes) -> Response:
        """What comes of the request."""
        del headers, body
        await asyncio.sleep(0)
        return self._comes()


@dataclass(slots=True)
class Requests:
    """Passes requests on until the outage begins."""

    inner: Calls
    broken: Calls
    left: int
    reached: bool = False
    """Whether a request went wrong."""

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """The request, unless the outage has begun."""
        self.left -= 1
        if self.left > 0:
            return await self.inner.call(operation, parameters)
        self.reached = True
        return await self.broken.call(operation, parameters)


@dataclass(slots=True)
class _Anyone:
    """Credentials of a request that is never sent."""

    access_key: str = "key"
    secret_key: str = "secret"  # noqa: S105 # signs requests that are not sent
    token: str | None = None


async def _credentials() -> Credentials:
    return _Anyone()


async def _no_pause(seconds: float) -> None:
    del seconds
    await asyncio.sleep(0)


@contextmanager
def outage_of(table: Table, outage: Outage, step: int) -> Generator[Requests]:
    """In the block, the request of this number, counted from 1, and all after it go wrong."""
    pool = _BrokenPool(COMES_OF[outage])
    calls = DirectCalls(pool, Signer("nowhere", "dynamodb", pool.host), _credentials)
    before = table.calls
    requests = Requests(before, RetryingCalls(calls, pause=_no_pause), step)
    table.calls = requests
    try:
        yield requests
    finally:
        table.calls = before
