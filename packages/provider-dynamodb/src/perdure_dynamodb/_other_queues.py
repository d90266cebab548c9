"""Activities of tags that the caller does not ask for, found without a walk over their queues.

A shard of the activity queue holds one range of sort keys for each tag. This reads the first row
behind a tag's range, which tells the next tag, and then only what waits longest of that tag. A
look visits a bounded number of tags of each shard, and the next one goes on behind them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence

from perdure.clock import Instant

from perdure_dynamodb._keys import due_at, open_since, tag_prefix
from perdure_dynamodb._table import Select, Table, at_once
from perdure_dynamodb._values import Row

MOST_TAGS = 25
"""Of each shard in one look."""


class OtherQueues:
    """Looks for what waits under other tags; remembers where it stopped."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stops: dict[str, str] = {}

    async def waiting(
        self, partitions: Iterable[str], *, but: Collection[str], now: Instant, limit: int
    ) -> list[Row]:
        """Up to `limit` rows of each tag that are ready whatever any clock says, and as many that
        are due, the oldest first.

        `but` has the prefixes of the tags that are left out.
        """
        found = await at_once(self._of_shard(each, but, now, limit) for each in partitions)
        return [row for rows in found for row in rows]

    async def _of_shard(
        self, partition: str, but: Collection[str], now: Instant, limit: int
    ) -> Sequence[Row]:
        rows: list[Row] = []
        # The first of all prefixes.
        untagged = tag_prefix(None)
        async for prefix in self._tags(partition, f"{untagged}~" if untagged in but else untagged):
            if prefix in but:
                continue
            for first, last in ((open_since(0), due_at(0)), (due_at(0), due_at(now, "~"))):
                page = await self._table.query(
                    Select(
                        partition=partition,
                        first=prefix + first,
                        last=prefix + last,
                        index=True,
                        limit=limit,
                    )
                )
                rows += page.rows
        return rows

    async def _tags(self, partition: str, first: str) -> AsyncGenerator[str]:
        """The prefixes of tags in use, from behind the last one of the look before."""
        behind = self._stops.pop(partition, first)
        for _ in range(MOST_TAGS):
            page = await self._table.query(
                Select(partition=partition, first=behind, index=True, limit=1)
            )
            if not page.rows:
                return
            prefix = page.rows[0].text("gsk").partition("#")[0] + "#"
            yield prefix
            behind = prefix + "~"
        self._stops[partition] = behind
