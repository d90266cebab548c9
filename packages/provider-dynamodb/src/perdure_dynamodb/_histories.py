"""Reading histories: segments of an execution, unpacked, in pages."""

from __future__ import annotations

from perdure.contract import HistoryPage, StoredEvent, checked_page

from perdure_dynamodb._keys import Keys, after_event, end_of_execution
from perdure_dynamodb._payloads import read_payloads, size_of
from perdure_dynamodb._segments import unpack
from perdure_dynamodb._table import Select, Table

PAGE_BYTES = 4_000_000
"""Of packed events; at least one segment."""


async def read_page(
    table: Table,
    keys: Keys,
    instance: str,
    execution: int,
    *,
    tag: str,
    after: int,
    last: int | None,
) -> HistoryPage:
    """The events above a number, as many as a page takes, of which none is missing.

    `tag` is that of the incarnation. `last` is the number of the last event, read before: others may have come since.
    """
    page = await table.query(
        Select(
            partition=keys.partition(instance),
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
    more = page.next is not None or len(rows) < len(page.rows)
    return checked_page(instance, execution, events, after=after, last=last, more=more)
