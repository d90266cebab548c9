"""An index of the ends of leases and delays: rows by an instant, which changes with every commit.

Rows lie in buckets of about a second, so that a row moves in constant time and without an object
for its place. A reader that needs them in order sorts what it reads.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Generic, TypeVar

from perdure.contract import Instant

Row = TypeVar("Row", bound=Hashable)

_BUCKET = 20
"""The bits of an instant that do not tell buckets apart: 1.05 seconds."""


class EndIndex(Generic[Row]):
    """Rows by an instant, each at most once."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Row, Instant]] = {}
        self._bucket_of: dict[Row, int] = {}

    def next_look(self, now: Instant) -> Instant | None:
        """When to look again, or None without rows: not later than the earliest instant.

        Within the second of the earliest instant it is exact. Before that it is the beginning of
        the second, because looking for the earliest of many rows takes long.
        """
        if not self._buckets:
            return None
        first = min(self._buckets)
        begins = first << _BUCKET
        return begins if begins > now else min(self._buckets[first].values())

    def __contains__(self, row: Row) -> bool:
        return row in self._bucket_of

    def put(self, row: Row, when: Instant) -> None:
        """Put the row at this instant, and remove it from an earlier one."""
        number = when >> _BUCKET
        if self._bucket_of.get(row) != number:
            self.discard(row)
            self._bucket_of[row] = number
            if number not in self._buckets:
                self._buckets[number] = {}
        self._buckets[number][row] = when

    def discard(self, row: Row) -> None:
        """Remove the row, if it is in the index."""
        number = self._bucket_of.pop(row, None)
        if number is not None:
            bucket = self._buckets[number]
            del bucket[row]
            if not bucket:
                del self._buckets[number]

    def until(self, instant: Instant) -> list[tuple[Instant, Row]]:
        """The rows at this instant or earlier, in order."""
        last = instant >> _BUCKET
        return self._sorted([each for each in self._buckets if each <= last], 0, instant)

    def beyond(self, instant: Instant) -> list[tuple[Instant, Row]]:
        """The rows later than this instant, in order."""
        first = instant >> _BUCKET
        return self._sorted([each for each in self._buckets if each >= first], instant + 1, None)

    def _sorted(
        self, numbers: list[int], first: Instant, last: Instant | None
    ) -> list[tuple[Instant, Row]]:
        found = [
            (at, row)
            for number in numbers
            for row, at in self._buckets[number].items()
            if first <= at and (last is None or at <= last)
        ]
        found.sort(key=itemgetter(0))
        return found
