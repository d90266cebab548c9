"""The sweep over a queue: finds what may be ready, page by page, and starves nobody.

A queue is a few partitions of the index, ordered by the time since when something is ready.
Rows that cannot be taken now (leased, delayed, of a name that nobody here serves) stay where
they are. So a call that stopped early is followed by one that goes on at the page where it
stopped, and that one by one that begins at the head again: however many such rows there are,
everything else is reached. A queue that fits a page is read from its head each time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace

from perdure_dynamodb._keys import waits_since
from perdure_dynamodb._table import Select, Table, at_once
from perdure_dynamodb._values import Row

PAGE = 400
MOST_PAGES = 25
"""Of each partition in one call."""


@dataclass(slots=True)
class _Walk:
    """Where the reading of one partition has come to."""

    select: Select
    at: Mapping[str, str] | None
    from_head: bool
    next: Mapping[str, str] | None = None
    done: bool = False


class QueueScan:
    """Reads the partitions of a queue; remembers where it stopped."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stops: dict[str, Mapping[str, str]] = {}
        self._from_head: set[str] = set()
        """Those that the last call began at the head."""

    async def rounds(
        self, selects: Mapping[str, Select], *, apart: Mapping[str, Select], first_page: int
    ) -> AsyncGenerator[Sequence[Row]]:
        """A page of each partition at a time, all their rows by time.

        The names of the selects say which partition and range it is, call after call. `apart` has,
        under the same names, the part of a range that stands behind the rest though its rows may
        be older: it is read beside the rest where that does not fit a page.
        """
        walks = {name: self._begin(name, select) for name, select in selects.items()}
        limit = min(max(first_page, 25), PAGE)
        try:
            for number in range(MOST_PAGES):
                going = [walk for walk in walks.values() if not walk.done]
                if not going:
                    return
                pages = await at_once(self._read(walk, limit) for walk in going)
                if number == 0:
                    behind = {
                        f"{name}, apart": self._begin(f"{name}, apart", select)
                        for name, select in apart.items()
                        if walks[name].next is not None
                    }
                    walks |= behind
                    going += behind.values()
                    pages += await at_once(self._read(walk, limit) for walk in behind.values())
                yield sorted(
                    (row for page in pages for row in page),
                    key=lambda row: (waits_since(row.text("gsk")), row.text("gsk")),
                )
                for walk in going:
                    walk.at, walk.done = walk.next, walk.next is None
                limit = PAGE
        finally:
            for name, walk in walks.items():
                self._note_stop(name, walk)

    def _note_stop(self, name: str, walk: _Walk) -> None:
        before = self._stops.get(name)
        if walk.done:
            self._stops.pop(name, None)
        elif walk.at is not None and (
            not walk.from_head or before is None or before["gsk"] < walk.at["gsk"]
        ):
            self._stops[name] = walk.at

    def _begin(self, name: str, select: Select) -> _Walk:
        stop = self._stops.get(name)
        inside = stop is not None and (select.first or "") <= stop["gsk"] <= (select.last or "~")
        # Every other time from the head: what was locked there may be free by now.
        from_head = not inside or name not in self._from_head
        (self._from_head.add if from_head else self._from_head.discard)(name)
        return _Walk(select, None if from_head else stop, from_head)

    async def _read(self, walk: _Walk, limit: int) -> Sequence[Row]:
        page = await self._table.query(replace(walk.select, start=walk.at, limit=limit))
        walk.next = page.next
        return page.rows
