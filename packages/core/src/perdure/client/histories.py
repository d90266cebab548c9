"""Reading the history of one execution, as the calls that act on it need it."""

from __future__ import annotations

from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import StorageCorrupt
from perdure.history import Event, decode_event
from perdure.records.turns import HistoryPage, StoredEvent


async def read_history(
    provider: Provider, instance: str, execution: int, *, incarnation: str
) -> list[Event]:
    """The events of an execution, oldest first; empty before its first turn.

    Raises `InstanceNotFound` or `ExecutionNotFound`, and `StorageCorrupt` if an event cannot be
    decoded. The whole history is held in memory.
    """
    events: list[Event] = []
    more = True
    while more:
        page = await read_page(
            provider, instance, execution, incarnation=incarnation, after=len(events)
        )
        events.extend(decode_stored(instance, execution, event) for event in page.events)
        more = page.more
    return events


async def read_readable_history(
    provider: Provider, instance: str, execution: int, *, incarnation: str
) -> list[Event]:
    """Like `read_history`, but only up to the first event that is damaged or lost."""
    events: list[Event] = []
    more = True
    try:
        while more:
            page = await read_page(
                provider, instance, execution, incarnation=incarnation, after=len(events)
            )
            for event in page.events:
                events.append(
                    decode_stored(instance, execution, event)
                )  # those before the damage are kept
            more = page.more
    except StorageCorrupt:
        pass
    return events


async def read_first_event(
    provider: Provider, instance: str, execution: int, *, incarnation: str
) -> Event | None:
    """The first event of an execution; None before its first turn."""
    page = await read_page(provider, instance, execution, incarnation=incarnation, after=0)
    return decode_stored(instance, execution, page.events[0]) if page.events else None


async def read_page(
    provider: Provider, instance: str, execution: int, *, incarnation: str, after: int
) -> HistoryPage:
    """A page of a history, with retries."""
    return await with_retries(
        provider.clock,
        lambda: provider.read_history(instance, execution, incarnation=incarnation, after=after),
    )


def decode_stored(instance: str, execution: int, stored: StoredEvent) -> Event:
    """The event; raises `StorageCorrupt`, which names it."""
    try:
        return decode_event(stored.number, stored.data)
    except ValueError as error:
        raise StorageCorrupt(
            f"event {stored.number} of execution {execution} of instance {instance!r} cannot be"
            f" decoded: {error}; it may come from a newer version of perdure, so upgrade this one",
            operation="read_events",
        ) from error
