"""Reads histories: all of one, to rebuild its execution, or the readable part of a damaged one.

A history is decoded in slices, however long it is, so that other work runs in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.errors import ExecutionNotFound, InstanceNotFound, StorageCorrupt
from perdure.history import Event, decode_event
from perdure.model.envelope import plain_text
from perdure.records.instances import InstanceState
from perdure.records.turns import HistoryPage, StoredEvent
from perdure.replay.signals import UndecodableData
from perdure.runtime.host_loop import Pacer


class _Source(NamedTuple):
    """An execution by its name."""

    instance: str
    incarnation: str
    execution: int

    @classmethod
    def of(cls, state: InstanceState) -> _Source:
        """The current one of an instance."""
        return cls(state.instance, state.incarnation, state.execution)


class StoredHistory:
    """A history as it is stored. Each event is decoded when it is come to.

    Only numbers and bytes are held: the garbage collector looks at neither. Iterating raises
    `UndecodableData`.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._numbers: list[int] = []
        self._data: list[bytes] = []

    def add(self, page: Sequence[StoredEvent]) -> None:
        """Append these events."""
        self._numbers += [event.number for event in page]
        self._data += [event.data for event in page]

    def __iter__(self) -> Iterator[Event]:
        for number, data in zip(self._numbers, self._data, strict=True):
            try:
                yield decode_event(number, data)
            except ValueError as error:
                raise UndecodableData(f"history of {self._instance!r}: {error}") from error


async def read_history(provider: Provider, state: InstanceState) -> StoredHistory:
    """The history of the current execution.

    Raises `InstanceNotFound`, `ExecutionNotFound` or `ProviderError`.
    """
    stored = StoredHistory(state.instance)
    async for page in _pages(provider, _Source.of(state)):
        stored.add(page)
    return stored


async def read_execution(
    provider: Provider, instance: str, incarnation: str, execution: int
) -> list[Event]:
    """The history of any execution; raises as `read_history`, and `UndecodableData`."""
    return await _read_all(provider, _Source(instance, incarnation, execution), 0)


async def read_values(provider: Provider, state: InstanceState) -> dict[str, str]:
    """The values of an instance as JSON texts; reads none where there are none.

    Raises `UndecodableData` or `ProviderError`.
    """
    if not state.value_count:
        return {}
    stored = await with_retries(
        provider.clock, lambda: provider.read_values(state.instance), tries=PATIENT_TRIES
    )
    try:
        return (
            {} if stored is None else {key: plain_text(data) for key, data in stored.values.items()}
        )
    except ValueError as error:
        raise UndecodableData(f"values of {state.instance!r}: {error}") from error


async def read_events_after(provider: Provider, state: InstanceState, after: int) -> list[Event]:
    """The events of the current execution with higher numbers; raises as `read_execution`."""
    if state.last_event <= after:
        return []
    return await _read_all(provider, _Source.of(state), after)


async def _read_all(provider: Provider, source: _Source, after: int) -> list[Event]:
    events: list[Event] = []
    pacer = Pacer()
    async for page in _pages(provider, source, after):
        stored = StoredHistory(source.instance)
        stored.add(page)
        for event in stored:
            events.append(event)
            await pacer.pause()
    return events


async def read_readable_history(provider: Provider, state: InstanceState) -> list[Event]:
    """The events of the current execution that can be read; raises `ProviderError`."""
    events: list[Event] = []
    pacer = Pacer()
    if state.last_event == 0:
        return events
    try:
        async for page in _pages(provider, _Source.of(state)):
            for stored in page:
                with suppress(ValueError):
                    events.append(decode_event(stored.number, stored.data))
                await pacer.pause()
    except (StorageCorrupt, InstanceNotFound, ExecutionNotFound):
        return events
    return events


async def _pages(
    provider: Provider, source: _Source, after: int = 0
) -> AsyncGenerator[Sequence[StoredEvent]]:
    more = True

    def read_on() -> Awaitable[HistoryPage]:
        return provider.read_history(
            source.instance, source.execution, incarnation=source.incarnation, after=after
        )

    while more:
        page = await with_retries(provider.clock, read_on, tries=PATIENT_TRIES)
        if not page.events:
            return
        yield page.events
        after, more = page.events[-1].number, page.more
