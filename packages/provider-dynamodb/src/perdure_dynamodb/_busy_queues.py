"""Names and tags of activities that some runtime is busy with: one of them is leased (ACT-24).

Only a look that has found unregistered work asks, and only about the names and tags of that work. The
row of a leased activity in the index stands at the end of its lease, so what is leased now is one
range behind the present of each name and tag in each shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perdure.clock import Instant
from perdure.contract import FARTHEST_END

from perdure_dynamodb._keys import due_at, is_leased, tag_prefix, work_prefix
from perdure_dynamodb._table import READ_BATCH, Select, Table, at_once
from perdure_dynamodb._values import Row


def queue_of(row: Row) -> tuple[str, str | None]:
    """Name and tag of an activity."""
    return row.text("nam"), row.text_or_none("tag")


async def leased_rows(
    table: Table, partitions: Iterable[str], queues: Iterable[tuple[str, str | None]], now: Instant
) -> Sequence[Row]:
    """The rows in the index of activities of these names and tags whose leases end after now.

    Of each name and tag in each shard, a batch of those that end first.
    """
    wanted = set(queues)
    prefixes = {work_prefix(name, tag) for name, tag in wanted}
    # Version 0.1.0 kept only the tags apart.
    prefixes |= {tag_prefix(tag) for _, tag in wanted}
    pages = await at_once(
        table.query(
            Select(
                partition=partition,
                first=prefix + due_at(now + 1),
                last=prefix + due_at(now + FARTHEST_END, "~"),
                index=True,
                limit=READ_BATCH,
            )
        )
        for partition in partitions
        for prefix in prefixes
    )
    rows = [row for page in pages for row in page.rows if is_leased(row.text("gsk"))]
    return [row for row in rows if queue_of(row) in wanted]
