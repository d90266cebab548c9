"""Reading histories: segments of an execution, unpacked, in pages."""

from __future__ import annotations

from perdure.contract import HistoryPage, StoredEvent, checked_page

from perdure_dynamodb._keys import after_event, end_of_execution
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import read_payloads, size_of
from perdure_dynamodb._segments import unpack
from perdure_dynamodb._table import Select

PAGE_BYTES = 4_000_000
"""Of packed events; at least one segment."""


async def read_events(
    namespace: Namespace, lock: Lock, execution: int, *, after: int
) -> HistoryPage:
    """The events above a number, as many as a page takes, of which none is missing."""
    table, tag, instance = namespace.table, lock.life.tag, lock.instance
    page = await table.query(
        Select(
            partition=namespace.keys.partition(instance),
            first=after_event(execution, after, tag),
            last=end_of_execution(execution, tag),
        )
    )
    rows, size = list(page.rows), 0
    for count, row in enumerate(page.rows):
        size += size_of(row)
        if size > PAGE_BYTES and count:
            rows = rows[:count]
            break
    events: list[StoredEvent] = []
    where = f"instance {instance!r}, execution {execution}"
    for row, data in zip(rows, await read_payloads(table, rows), strict=True):
        ends = int(row.text("sk").rpartition("#")[2])
        events += [event for event in unpack(data, last=ends, where=where) if event.number > after]
    # Others may have come since the lock item was read.
    last = lock.last_event if execution == lock.execution else None
    more = page.next is not None or len(rows) < len(page.rows)
    return checked_page(instance, execution, events, after=after, last=last, more=more)
