"""The backend of a conformance run on the in-memory model of DynamoDB, through any transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from perdure.clock import Clock
from perdure.contract import Provider
from perdure_conformance.backend import Declaration
from perdure_conformance.tampering import PAUSES

from perdure_dynamodb._opening import open_on
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._plugin import perdure_provider_specs
from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._table import Table
from perdure_dynamodb._transport import Calls
from perdure_dynamodb.testing.tampering import TAMPERING, TableTampering


async def _at_once(seconds: float) -> None:
    """In place of a pause between two attempts of a request: no table recovers meanwhile."""
    del seconds


class ModelBackend(TableTampering):
    """Opens provider objects on one table, which `calls` reach.

    With `pauses` the checks of calls at once hold a call at each of its requests.
    """

    def __init__(self, calls: Calls, *, shards: int, pauses: bool = False) -> None:
        super().__init__(self._table)
        [spec] = perdure_provider_specs()
        self.declaration = Declaration(
            scheme="dynamodb",
            contract=spec.contract,
            # Without a URL no other process can be asked to use the model.
            capabilities=spec.capabilities - {"persistent", "shared"},
            description="model",
            tampering=TAMPERING | {PAUSES} if pauses else TAMPERING,
        )
        self.url: str | None = None
        self._calls = calls
        self._shards = shards

    @asynccontextmanager
    async def open(self, *, clock: Clock, namespace: str) -> AsyncGenerator[Provider]:
        """A provider object on this namespace of the table."""
        options = DynamoDBOptions(table="model", namespace=namespace, shards=self._shards)
        async with open_on(self._calls, options, clock=clock, pause=_at_once) as provider:
            yield provider

    @asynccontextmanager
    async def _table(self) -> AsyncGenerator[Table]:
        yield Table(RetryingCalls(self._calls, pause=_at_once), "model")
