"""The backend that the conformance suite uses: one client for all provider objects of a loop.

The suite opens hundreds of provider objects, and making a client for each would cost more than
the checks do. A client belongs to an event loop, and checks have loops of their own, some at the
same time: so each loop has one, for as long as it has provider objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import aioboto3  # pyright: ignore[reportMissingTypeStubs]
from perdure.clock import Clock, SystemClock
from perdure.contract import Provider, ProviderUrl
from perdure_conformance.backend import Declaration

from perdure_dynamodb._opening import checked_calls, open_on
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._table import Table
from perdure_dynamodb._transport import Calls
from perdure_dynamodb.testing.outages import DIFFERENT
from perdure_dynamodb.testing.tampering import TAMPERING, TableTampering

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class SessionBackend(TableTampering):
    """Opens provider objects on the table of a URL."""

    outages = DIFFERENT

    def __init__(self, url: str, declaration: Declaration) -> None:
        super().__init__(self._table)
        self.url: str | None = url
        self._options = DynamoDBOptions.from_url(ProviderUrl.parse(url))
        host = urlsplit(self._options.endpoint_url or "").hostname
        tested_on = "DynamoDB Local" if host in _THIS_MACHINE else ""
        self.declaration = replace(declaration, tampering=TAMPERING, tested_on=tested_on)
        self._session = aioboto3.Session(profile_name=self._options.profile)
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}

    @asynccontextmanager
    async def open(self, *, clock: Clock, namespace: str) -> AsyncGenerator[Provider]:
        """A provider object on this namespace of the table."""
        options = self._options.model_copy(update={"namespace": namespace})
        async with self._shared() as calls, open_on(calls, options, clock=clock) as provider:
            yield provider

    @asynccontextmanager
    async def _table(self) -> AsyncGenerator[Table]:
        async with self._shared() as calls:
            yield Table(RetryingCalls(calls), self._options.table)

    @asynccontextmanager
    async def _shared(self) -> AsyncGenerator[Calls]:
        loop = asyncio.get_running_loop()
        client = self._clients.setdefault(loop, _Client())
        client.users += 1
        try:
            async with client.opening:
                if client.calls is None:
                    client.calls = await client.stack.enter_async_context(
                        checked_calls(self._options, clock=SystemClock(), session=self._session)
                    )
            yield client.calls
        finally:
            client.users -= 1
            if client.users == 0:
                del self._clients[loop]
                await client.stack.aclose()


@dataclass(slots=True)
class _Client:
    """The client of one event loop, and how many use it."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    calls: Calls | None = None
    users: int = 0
