"""A time index: rows ordered by an instant, each at most once.

Reading the first or last row is free; moving a row costs a binary search and a block move. A heap
would keep an entry for every earlier place of a row, and grow while leases are renewed; this index
holds one entry for each row.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

from perdure.contract import Instant

Row = TypeVar("Row", bound=Hashable)


class TimeIndex(Generic[Row]):
    """Rows ordered by instant; among equals, the one that was set first."""

    def __init__(self) -> None:
        self._order: list[tuple[Instant, int]] = []
        self._rows: dict[tuple[Instant, int], Row] = {}
        self._places: dict[Row, tuple[Instant, int]] = {}
        self._numbers = count()

    @property
    def first(self) -> Instant | None:
        """The earliest instant, or None without rows."""
        return self._order[0][0] if self._order else None

    def put(self, row: Row, when: Instant) -> None:
        """Put the row at this instant, and remove it from an earlier one."""
        place = self._places.get(row)
        if place is not None:
            if place[0] == when:
                return
            self.discard(row)
        place = (when, next(self._numbers))
        insort(self._order, place)
        self._rows[place] = row
        self._places[row] = place

    def discard(self, row: Row) -> None:
        """Remove the row, if it is in the index."""
        place = self._places.pop(row, None)
        if place is not None:
            del self._rows[place]
            del self._order[bisect_left(self._order, place)]

    def until(self, instant: Instant) -> list[tuple[Instant, Row]]:
        """The rows at this instant or earlier, in order."""
        end = bisect_left(self._order, (instant + 1, -1))
        return [(place[0], self._rows[place]) for place in self._order[:end]]
