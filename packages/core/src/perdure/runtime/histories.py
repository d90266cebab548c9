"""Reads histories: all of one, to rebuild its execution, or the readable part of a damaged one.

A history is decoded in slices, however long it is, so that other work runs in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress

from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.errors import ExecutionNotFound, InstanceNotFound, StorageCorrupt
from perdure.history import Event, decode_event
from perdure.records.instances import InstanceState
from perdure.records.turns import HistoryPage, StoredEvent
from perdure.replay.signals import UndecodableData
from perdure.runtime.host_loop import Pacer


async def read_history(provider: Provider, state: InstanceState) -> list[Event]:
    """The history of the current execution.

    Raises `UndecodableData`, `InstanceNotFound`, `ExecutionNotFound` or `ProviderError`.
    """
    return await read_events_after(provider, state, 0)


async def read_events_after(provider: Provider, state: InstanceState, after: int) -> list[Event]:
    """The events of the current execution with higher numbers; raises as `read_history`."""
    events: list[Event] = []
    pacer = Pacer()
    async for page in _pages(provider, state, after):
        for stored in page:
            try:
                events.append(decode_event(stored.number, stored.data))
            except ValueError as error:
                raise UndecodableData(f"history of {state.instance!r}: {error}") from error
            await pacer.pause()
    return events


async def read_readable_history(provider: Provider, state: InstanceState) -> list[Event]:
    """The events of the current execution that can be read; raises `ProviderError`."""
    events: list[Event] = []
    pacer = Pacer()
    try:
        async for page in _pages(provider, state):
            for stored in page:
                with suppress(ValueError):
                    events.append(decode_event(stored.number, stored.data))
                await pacer.pause()
    except (StorageCorrupt, InstanceNotFound, ExecutionNotFound):
        return events
    return events


async def _pages(
    provider: Provider, state: InstanceState, after: int = 0
) -> AsyncGenerator[Sequence[StoredEvent]]:
    more = state.last_event > after

    def read_on() -> Awaitable[HistoryPage]:
        return provider.read_history(
            state.instance, state.execution, incarnation=state.incarnation, after=after
        )

    while more:
        page = await with_retries(provider.clock, read_on, tries=PATIENT_TRIES)
        if not page.events:
            return
        yield page.events
        after, more = page.events[-1].number, page.more
