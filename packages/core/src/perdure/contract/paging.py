"""What fits into one answer, and pages of histories that are checked for gaps.

Providers share these, so that they deliver the same amounts and refuse the same damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from perdure.errors import StorageCorrupt
from perdure.records.limits import MAX_BYTES_PER_DELIVERY, MAX_MESSAGES_PER_DELIVERY
from perdure.records.turns import HistoryPage, StoredEvent

T = TypeVar("T")


def first_page(items: Iterable[T], size_of: Callable[[T], int]) -> tuple[list[T], bool]:
    """The first items that fit into one answer, and whether more follow.

    An answer holds at most `MAX_MESSAGES_PER_DELIVERY` items and `MAX_BYTES_PER_DELIVERY` bytes, and
    at least one item if there is any. `size_of` gives the bytes of an item. Reads at most one item
    beyond the page.
    """
    page: list[T] = []
    size = 0
    for item in items:
        size += size_of(item)
        is_full = len(page) == MAX_MESSAGES_PER_DELIVERY or size > MAX_BYTES_PER_DELIVERY
        if page and is_full:
            return page, True
        page.append(item)
    return page, False


def checked_page(
    instance: str,
    execution: int,
    events: Iterable[StoredEvent],
    *,
    after: int,
    last: int | None,
    more: bool,
) -> HistoryPage:
    """A page of a history; raises `StorageCorrupt` if an event is missing.

    `events` must be numbered from `after + 1` without gaps. `last` is the number of the last event
    of the execution, read before the events; the final page (`more` is false) must reach it. None
    skips that check. The page may end later, since events may have been appended meanwhile.
    """
    page = tuple(events)
    for number, event in enumerate(page, after + 1):
        if event.number != number:
            raise missing_event(instance, execution, number)
    end = after + len(page)
    if last is not None and not more and end < last:
        raise missing_event(instance, execution, end + 1)
    return HistoryPage(events=page, more=more)


def missing_event(instance: str, execution: int, number: int) -> StorageCorrupt:
    """The error for an event that the storage has lost."""
    return StorageCorrupt(
        f"event {number} of execution {execution} of instance {instance!r} is missing; it was"
        " removed by something other than Perdure, so restore the storage from a backup",
        operation="read_history",
    )
