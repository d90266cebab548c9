"""Ranges of instances in the order of creation, newest first, and several of them merged.

Creation times repeat, so a place in a listing is a time and a number: after all instances that were
created later, and those of the same time with at least this number.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, TypeAlias

from perdure.contract import Instant

from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.listings import BY_STATUS, NEXT_STATUS, RangeStatements

Place: TypeAlias = tuple[Instant, int]
"""A creation time and a number."""

BEGIN: Final[Place] = (ALWAYS, 0)
"""Before the newest instance."""
EVER: Final[Instant] = -ALWAYS
"""Earlier than every instant."""

LookedAt: TypeAlias = tuple[
    Instant, int, str, str, str, Instant, str | None, str | None, str | None
]
"""The columns `LOOKED_AT`."""


@dataclass(frozen=True, slots=True)
class Range:
    """The instances that share a value."""

    statements: RangeStatements
    value: tuple[str, ...]

    def read(self, reader: Reader, place: Place, since: Instant) -> Generator[LookedAt]:
        """The instances behind a place that were created since then. Close the generator."""
        time, number = place
        key = (reader.namespace, *self.value)
        if number > 0:
            with closing(reader.execute(self.statements.rest, (*key, time, number))) as rows:
                yield from rows
        with closing(reader.execute(self.statements.read, (*key, since, time))) as rows:
            yield from rows

    def count(self, reader: Reader, place: Place, since: Instant, limit: int) -> int:
        """How many there are before the time of a place, up to a limit."""
        key = (reader.namespace, *self.value, since, place[0], limit)
        (count,) = reader.execute(self.statements.count, key).fetchone()
        return count


def merged(
    reader: Reader, ranges: Iterable[Range], place: Place, since: Instant = EVER
) -> Generator[LookedAt]:
    """The instances of several ranges, newest first. Close the generator before the snapshot."""
    parts = [each.read(reader, place, since) for each in ranges]
    try:
        yield from heapq.merge(*parts, key=itemgetter(0, 1), reverse=True)
    finally:
        for part in parts:
            part.close()


def all_statuses(reader: Reader) -> list[Range]:
    """The ranges of all statuses that there are, which hold all instances."""
    return [Range(BY_STATUS, (status,)) for status in distinct(reader, NEXT_STATUS)]


def distinct(reader: Reader, next_value: str) -> Iterator[str]:
    """The values of an indexed column, one step of the index each."""
    value = ""
    while True:
        (found,) = reader.execute(next_value, (reader.namespace, value)).fetchone()
        if found is None:
            return
        yield found
        # The least text that is greater.
        value = f"{found}\0"
