"""The scan of a queue: finds what may be taken, page by page, and starves nothing.

A queue is a few partitions of the index, one for each shard. Each partition holds a prefix for
everything that needs other code, and behind each prefix what stands there by time. A scan is asked
for some ranges. It begins with the head of each range that has rows: one query answers for all
ranges of a shard that are empty, and one more for each that is not. So what stands outside of the
ranges costs almost nothing, however much it is.

Rows that cannot be taken now stay where they are. So a scan that stopped early is followed by one
that goes on, behind the heads, at the page where it stopped, and that by one that goes on right
behind the heads: however many such rows there are, everything else is reached.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from perdure_dynamodb._keys import EVERYTHING, Range, waits_since
from perdure_dynamodb._table import Page, Select, Table, at_once, in_groups
from perdure_dynamodb._values import Row

HEAD = 16
"""Rows of the first page: a read of up to 4 KB costs the same."""
PAGE = 400
THOROUGH = 4
"""One of so many scans reads the heads of all ranges, however much the first ones have."""
FAR_MORE = 8
MOST_PAGES = 25
"""Of each range in one scan."""


@dataclass(slots=True)
class _Walk:
    """Where the reading of one range has come to, behind its head."""

    partition: str
    range: Range
    next: Mapping[str, str] | None
    at: Mapping[str, str] | None = None
    """Where the last page began; None until one was read."""
    behind_head: bool = True
    done: bool = False

    @property
    def name(self) -> tuple[str, str]:
        return self.partition, self.range.first


class QueueScan:
    """Scans the partitions of a queue; remembers where it stopped."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stops: dict[tuple[str, str], Mapping[str, str]] = {}
        self._from_head: set[tuple[str, str]] = set()
        """The ranges that the last scan read on from right behind the head."""
        self._scans = 0

    async def rounds(
        self,
        partitions: Sequence[str],
        ranges: Sequence[Range],
        *,
        room: int,
        empty: set[str] | None = None,
    ) -> AsyncGenerator[Sequence[Row]]:
        """Rows of the ranges, which are in order and apart, in lists sorted by time.

        The heads of so many partitions are read at once as there is room; the scan begins at any.
        If `empty` is set, partitions that hold nothing at all, in the ranges or not, are added.
        """
        walks: list[_Walk] = []
        self._scans += 1
        # Where there is far more than room, most scans leave the later ranges to the others.
        enough = len(ranges) * HEAD if self._scans % THOROUGH == 0 else FAR_MORE * room
        start = random.randrange(len(partitions))  # noqa: S311 # no secret
        for some in in_groups([*partitions[start:], *partitions[:start]], max(1, room)):
            heads = await at_once(
                self._head(partition, ranges, empty, enough) for partition in some
            )
            walks += [walk for _, going_on in heads for walk in going_on]
            yield _by_time([row for rows, _ in heads for row in rows])
        try:
            for number in range(MOST_PAGES):
                going = [walk for walk in walks if not walk.done]
                if not going:
                    return
                if number == 0:
                    for walk in going:
                        self._begin(walk)
                limit = PAGE if number else min(max(2 * room // len(going), 25), PAGE)
                pages = await at_once(self._read(walk, limit) for walk in going)
                yield _by_time([row for page in pages for row in page.rows])
        finally:
            for walk in walks:
                self._note_stop(walk)

    async def _head(
        self, partition: str, ranges: Sequence[Range], empty: set[str] | None, enough: int
    ) -> tuple[Sequence[Row], Sequence[_Walk]]:
        """The first rows of each range, and the ranges that have more."""
        rows: list[Row] = []
        walks: list[_Walk] = []
        at, first, last = 0, ranges[0].first, ranges[-1].last
        if empty is not None:
            first, last = EVERYTHING.first, EVERYTHING.last
        while at < len(ranges):
            page = await self._table.query(
                Select(
                    partition=partition,
                    first=first,
                    last=last,
                    index=True,
                    limit=HEAD,
                )
            )
            rows += [row for row in page.rows if _range_of(row.text("gsk"), ranges) is not None]
            if empty is not None and not page.rows and first == EVERYTHING.first:
                empty.add(partition)
            if page.next is None:
                break
            newest = page.rows[-1].text("gsk")
            within = _range_of(newest, ranges)
            if within is None:
                at = bisect_left(ranges, newest, key=lambda each: each.last)
            else:
                walks.append(_Walk(partition, within, page.next))
                at = ranges.index(within) + 1
                if len(rows) > enough:
                    break
            if at < len(ranges):
                first, last = ranges[at].first, ranges[-1].last
        return rows, walks

    async def _read(self, walk: _Walk, limit: int) -> Page:
        page = await self._table.query(
            Select(
                partition=walk.partition,
                first=walk.range.first,
                last=walk.range.last,
                index=True,
                start=walk.next,
                limit=limit,
            )
        )
        walk.at, walk.next, walk.done = walk.next, page.next, page.next is None
        return page

    def _begin(self, walk: _Walk) -> None:
        """Every other time right behind the head: what was locked there may be free by now."""
        stop, behind = self._stops.get(walk.name), walk.next
        is_ahead = stop is not None and behind is not None and stop["gsk"] > behind["gsk"]
        walk.behind_head = not is_ahead or walk.name not in self._from_head
        (self._from_head.add if walk.behind_head else self._from_head.discard)(walk.name)
        if not walk.behind_head:
            walk.next = stop

    def _note_stop(self, walk: _Walk) -> None:
        before = self._stops.get(walk.name)
        if walk.done:
            self._stops.pop(walk.name, None)
        elif walk.at is not None and (
            not walk.behind_head or before is None or before["gsk"] < walk.at["gsk"]
        ):
            self._stops[walk.name] = walk.at


def _range_of(sort_key: str, ranges: Sequence[Range]) -> Range | None:
    at = bisect_left(ranges, sort_key, key=lambda each: each.last)
    return ranges[at] if at < len(ranges) and ranges[at].has(sort_key) else None


def _by_time(rows: Sequence[Row]) -> Sequence[Row]:
    return sorted(rows, key=lambda row: (waits_since(row.text("gsk")), row.text("gsk")))
