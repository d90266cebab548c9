"""What waits for other code or other workers than the caller has, found without a walk over it.

A shard of a queue holds a prefix for everything that needs other code. This reads the first row
behind a prefix, which tells the next one, and then only what waits longest behind that. A look visits
a bounded number of prefixes of each shard, and the next one goes on behind them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence

from perdure_dynamodb._keys import Range, prefix_of
from perdure_dynamodb._table import Select, Table, at_once
from perdure_dynamodb._values import Row

MOST_PREFIXES = 25
"""Of each shard in one look."""


class OtherQueues:
    """Looks for what waits behind other prefixes; remembers where it stopped."""

    def __init__(self, table: Table, *, within: Range) -> None:
        self._table = table
        self._within = within
        self._stops: dict[str, str] = {}

    async def waiting(
        self,
        partitions: Iterable[str],
        *,
        but: Collection[str],
        ranges: Callable[[str], Iterable[Range]],
        limit: int,
    ) -> list[Row]:
        """Up to `limit` rows of each of the ranges of a prefix, but for the prefixes `but`."""
        found = await at_once(self._of_shard(each, but, ranges, limit) for each in partitions)
        return [row for rows in found for row in rows]

    async def _of_shard(
        self,
        partition: str,
        but: Collection[str],
        ranges: Callable[[str], Iterable[Range]],
        limit: int,
    ) -> Sequence[Row]:
        rows: list[Row] = []
        async for first in self._first_rows(partition):
            prefix = prefix_of(first)
            if prefix in but:
                continue
            for each in ranges(prefix):
                # Nothing of the prefix stands before its first row.
                if first > each.last:
                    continue
                page = await self._table.query(
                    Select(
                        partition=partition,
                        first=each.first,
                        last=each.last,
                        index=True,
                        limit=limit,
                    )
                )
                rows += page.rows
        return rows

    async def _first_rows(self, partition: str) -> AsyncGenerator[str]:
        """The first place behind each prefix in use, from behind the last one of the look before."""
        behind = self._stops.pop(partition, self._within.first)
        for _ in range(MOST_PREFIXES):
            page = await self._table.query(
                Select(
                    partition=partition, first=behind, last=self._within.last, index=True, limit=1
                )
            )
            if not page.rows:
                return
            first = page.rows[0].text("gsk")
            yield first
            behind = prefix_of(first) + "~"
        self._stops[partition] = behind
