"""Lets the conformance suite change the items of a table past the provider.

They write what a tool, a bug elsewhere, or half of a restored backup would leave in the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final

from perdure.contract import Provider, StoredEvent
from perdure.errors import StorageUnavailable
from perdure_conformance.tampering import (
    FAILING_STEPS,
    LOST_EVENTS,
    RAW_HISTORY,
    SPOILED_INSTANCES,
    STORAGE_ERRORS,
    EventPlace,
    Outage,
)

from perdure_dynamodb._keys import LOCK, Keys, after_event, end_of_execution, segment_key
from perdure_dynamodb._lives import Life
from perdure_dynamodb._payloads import ChunkBuffer, lasting, read_payload
from perdure_dynamodb._provider import DynamoDBProvider
from perdure_dynamodb._segments import pack, unpack
from perdure_dynamodb._table import Delete, Put, Select, Table, Update
from perdure_dynamodb._transport import Answer, Calls, Parameters
from perdure_dynamodb.testing.outages import COMES_OF, Requests, outage_of

TAMPERING: Final = frozenset(
    {FAILING_STEPS, LOST_EVENTS, RAW_HISTORY, SPOILED_INSTANCES, STORAGE_ERRORS}
)

Changed = Callable[[list[StoredEvent], int], list[StoredEvent]]
"""Gives the events of a segment as they shall be, told which one is meant."""


class FailingCalls:
    """Lets one request fail for good: an odd step before its effect, an even one after it."""

    def __init__(self, inner: Calls, step: int) -> None:
        self.reached = False
        """Whether so many requests were made."""
        self._inner = inner
        self._number, self._after = (step + 1) // 2, step % 2 == 0
        self._count = 0

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """The request, unless its turn to fail has come."""
        self._count += 1
        fails = self._count == self._number
        self.reached |= fails
        if fails and not self._after:
            raise StorageUnavailable("no answer, and no effect", operation=operation)
        answer = await self._inner.call(operation, parameters)
        if fails:
            raise StorageUnavailable("no answer", operation=operation)
        return answer


class PausedCalls:
    """Holds one request until it may go on."""

    def __init__(self, inner: Calls, step: int) -> None:
        self.reached = False
        """Whether so many requests were made."""
        self._inner = inner
        self._step = step
        self._count = 0
        self._may_go_on = asyncio.Event()

    def go_on(self) -> None:
        """Let the request be made."""
        self._may_go_on.set()

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """The request, held if its turn has come."""
        self._count += 1
        if self._count == self._step:
            self.reached = True
            await self._may_go_on.wait()
        return await self._inner.call(operation, parameters)


class TableTampering:
    """What a backend on a table offers; `reached` gives the table, for as long as its block lasts."""

    outages = tuple(COMES_OF)

    def __init__(self, reached: Callable[[], AbstractAsyncContextManager[Table]]) -> None:
        self._reached = reached

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Pack the segment that holds the event again."""

        def replaced(events: list[StoredEvent], at: int) -> list[StoredEvent]:
            return [*events[:at], replace(events[at], data=data), *events[at + 1 :]]

        await self._change_segment(place, replaced)

    async def lose_event(self, place: EventPlace) -> None:
        """Pack the segment without the event, or remove it with its only one."""

        def without(events: list[StoredEvent], at: int) -> list[StoredEvent]:
            return events[:at] + events[at + 1 :]

        await self._change_segment(place, without)

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Write a status that there is not into the lock item."""
        key = (Keys.of(namespace).partition(instance), LOCK)
        spoiling = Update(key=key, change="SET stat = :strange", values={":strange": "Spoiled"})
        async with self._reached() as table:
            await table.write(spoiling)

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[FailingCalls]:
        """Let a request of a provider object fail, after all that it would have been repeated."""
        if not isinstance(provider, DynamoDBProvider):
            raise TypeError(f"{provider!r} is not a provider object of DynamoDB")
        return failing(provider.table, step)

    def pause_at(self, provider: Provider, step: int) -> AbstractContextManager[PausedCalls]:
        """Hold a request of a provider object."""
        if not isinstance(provider, DynamoDBProvider):
            raise TypeError(f"{provider!r} is not a provider object of DynamoDB")
        return pausing(provider.table, step)

    def break_storage(
        self, provider: Provider, outage: Outage, *, step: int
    ) -> AbstractContextManager[Requests]:
        """Let all requests of a provider object from this one on go wrong."""
        if not isinstance(provider, DynamoDBProvider):
            raise TypeError(f"{provider!r} is not a provider object of DynamoDB")
        return outage_of(provider.table, outage, step)

    async def _change_segment(self, place: EventPlace, change: Changed) -> None:
        async with self._reached() as table:
            await change_segment(table, place, change)


async def change_segment(table: Table, place: EventPlace, change: Changed) -> None:
    """Store the segment that holds an event again, past the provider."""
    partition = Keys.of(place.namespace).partition(place.instance)
    lock = await table.get(partition, LOCK)
    tag = Life.of(lock or {}).tag
    select = Select(
        partition=partition,
        first=after_event(place.execution, place.number - 1, tag),
        last=end_of_execution(place.execution, tag),
    )
    row = await anext(table.query_all(select))
    last = int(row.text("sk").rpartition("#")[2])
    events = unpack(await read_payload(table, row) or b"", last=last, where="tampering")
    at = place.number - events[0].number
    changed = change(events, at)
    key = segment_key(place.execution, last, tag)
    if not changed:
        await table.write(Delete(key=(partition, key)))
        return
    [segment] = pack([event.data for event in changed], after=last - len(changed))
    buffer = ChunkBuffer.empty()
    payload = buffer.place(partition, segment.data, kind=lasting(tag))
    await buffer.write(table)
    await table.write(Put(item={"pk": partition, "sk": key, **payload}))


@contextmanager
def failing(table: Table, step: int) -> Generator[FailingCalls]:
    """In the block, a request of the table fails."""
    before = table.calls
    calls = FailingCalls(before, step)
    table.calls = calls
    try:
        yield calls
    finally:
        table.calls = before


@contextmanager
def pausing(table: Table, step: int) -> Generator[PausedCalls]:
    """In the block, a request of the table is held."""
    before = table.calls
    calls = PausedCalls(before, step)
    table.calls = calls
    try:
        yield calls
    finally:
        calls.go_on()
        table.calls = before
