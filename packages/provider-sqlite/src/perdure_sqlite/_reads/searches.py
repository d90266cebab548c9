"""Searches for instances: which range a query is answered by, and what is looked at for a page.

Every condition but the time of the last update and the beginning of the id is answered by an index.
The search reads the ranges of the one with the fewest instances, and judges each instance by the
other conditions. A page looks at a bounded number of instances, in steps, so that no step blocks the
event loop for long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from perdure.contract import InstanceQuery, InstanceState
from perdure.errors import InvalidInput

from perdure_sqlite._reads.ranges import (
    BEGIN,
    EVER,
    LookedAt,
    Place,
    Range,
    all_statuses,
    distinct,
    merged,
)
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.instances import READ_LISTED
from perdure_sqlite._sql.listings import (
    BY_LABEL,
    BY_NAME,
    BY_PARENT,
    BY_PARKED_REASON,
    BY_STATUS,
    NEXT_PARKED_REASON,
)
from perdure_sqlite._sql.rows import labels_of, state_of

_ALL: Final = "all"
_LABEL: Final = "label"
_NAME: Final = "name"
_PARENT: Final = "parent"
_PARKED: Final = "parked"
_STATUS: Final = "status"

LOOKS_PER_PAGE: Final = 1000
LOOKS_PER_STEP: Final = 100
_COUNTS: Final = (100, 1_000, 10_000)
"""How far the ranges are counted, in turn, until one has fewer instances."""
_TOKEN: Final = re.compile(
    r"([a-z]+[0-9]?)_(-?[0-9]{1,18})_([1-9][0-9]{0,17})_([0-9a-f]{16})\Z", re.ASCII
)


@dataclass(slots=True)
class Step:
    """What one step of a search has found."""

    place: Place
    """Behind the last instance that was looked at."""
    found: list[InstanceState] = field(default_factory=list[InstanceState])
    size: int = 0
    """The bytes of their outputs and custom statuses."""
    looks: int = 0
    more: bool = True
    """Whether there are instances behind the place."""
    is_page_full: bool = False
    """Whether the next instance that was found does not fit into the page."""

    def add(self, row: LookedAt, state: InstanceState | None, size: int) -> None:
        """Go on behind an instance, which is found if it has a state."""
        self.looks += 1
        self.place = row[:2]
        if state is not None:
            self.found.append(state)
            self.size += size


class Search:
    """A query, the index that answers it, and the place that has been reached."""

    def __init__(
        self,
        query: InstanceQuery,
        *,
        shown: Callable[[InstanceState], InstanceState],
        trusts_marks: bool,
    ) -> None:
        self._query = query
        self._shown = shown
        self._trusts_marks = trusts_marks
        """Whether an instance is shown as parked if and only if its row says so."""
        self._since = EVER if query.created_from is None else query.created_from
        self._index: str | None = None
        self.place: Place = BEGIN if query.created_before is None else (query.created_before, 0)

    @property
    def token(self) -> str:
        """Leads on from the place."""
        return "_".join((self._index or "", *map(str, self.place), self._query.digest()))

    def continue_from(self, token: str) -> None:
        """Go to the place of a token; raises `InvalidInput` if it is not one of this query."""
        match = _TOKEN.match(token)
        if match is None:
            raise InvalidInput(
                f"the page token {token!r} is not one of this provider; pass next_token on as it is"
            )
        index, time, number, digest = match.groups()
        if digest != self._query.digest() or index not in {*self._conditions(), _ALL}:
            raise InvalidInput(
                f"the page token {token!r} is of another query; pass it with the query that it was"
                " given for"
            )
        self._index, self.place = index, (int(time), int(number))

    def look(self, reader: Reader, *, wanted: int, looks: int, room: int, needs_one: bool) -> Step:
        """Look at up to `looks` instances, for up to `wanted` that fit into `room` bytes.

        With `needs_one`, the first one fits whatever its size.
        """
        step = Step(self.place)
        # A change of an instance in the middle might show it in two ranges, or in none.
        with reader.snapshot():
            ranges = self._ranges(reader, self._chosen(reader))
            with closing(merged(reader, ranges, step.place, self._since)) as rows:
                for row in rows:
                    if step.looks == looks or len(step.found) == wanted:
                        break
                    state = self._judged(reader, row)
                    size = 0 if state is None else _size_of(state)
                    if step.size + size > room and (step.found or not needs_one):
                        step.is_page_full = True
                        break
                    step.add(row, state, size)
                else:
                    step.more = False
        # Only now: the reader repeats a step that finds the file locked.
        self.place = step.place
        return step

    def _judged(self, reader: Reader, row: LookedAt) -> InstanceState | None:
        """The state of an instance that meets the query, else None."""
        if not _meets(self._query, row) or (
            self._trusts_marks and not _meets_parked(self._query, row[6])
        ):
            return None
        state = self._shown(state_of(reader.execute(READ_LISTED, (row[1],)).fetchone()))
        reason = None if state.parked is None else state.parked.reason
        return state if _meets_parked(self._query, reason) else None

    def _chosen(self, reader: Reader) -> str:
        if self._index is None:
            self._index = self._most_selective(reader)
        return self._index

    def _most_selective(self, reader: Reader) -> str:
        """The index with the fewest instances, or the first if all have many."""
        usable = [each for each in self._conditions() if self._trusts_marks or each != _PARKED]
        indexes = usable or [_ALL]
        ranges = {index: self._ranges(reader, index) for index in indexes}
        for limit in _COUNTS if len(indexes) > 1 else ():
            counts = {index: self._count(reader, ranges[index], limit) for index in indexes}
            fewest = min(indexes, key=lambda index: counts[index])
            if counts[fewest] < limit:
                return fewest
        return indexes[0]

    def _count(self, reader: Reader, ranges: Sequence[Range], limit: int) -> int:
        count = 0
        for each in ranges:
            count += each.count(reader, self.place, self._since, limit - count)
            if count >= limit:
                break
        return count

    def _conditions(self) -> list[str]:
        """The conditions of the query that have an index, roughly the most selective first."""
        query = self._query
        is_parked = query.parked is True or bool(query.parked_reasons)
        return [
            *(f"{_LABEL}{number}" for number in range(len(query.labels))),
            *([_PARENT] if query.parent is not None else []),
            *([_PARKED] if is_parked else []),
            *([_NAME] if query.orchestrations else []),
            *([_STATUS] if query.statuses else []),
        ]

    def _ranges(self, reader: Reader, index: str) -> list[Range]:
        query = self._query
        if index == _PARENT and query.parent is not None:
            return [Range(BY_PARENT, (query.parent,))]
        if index == _PARKED:
            reasons = query.parked_reasons or distinct(reader, NEXT_PARKED_REASON)
            return [Range(BY_PARKED_REASON, (reason,)) for reason in reasons]
        if index == _NAME:
            return [Range(BY_NAME, (name,)) for name in query.orchestrations]
        if index == _STATUS:
            return [Range(BY_STATUS, (status.value,)) for status in query.statuses]
        if index.startswith(_LABEL):
            number = int(index.removeprefix(_LABEL))
            return [Range(BY_LABEL, sorted(query.labels.items())[number])]
        return all_statuses(reader)


def _meets(query: InstanceQuery, row: LookedAt) -> bool:
    """Whether an instance meets all conditions but those about parked instances."""
    created_at, _, instance, name, status, updated_at, _, parent, labels = row
    return (
        (not query.statuses or status in query.statuses)
        and (not query.orchestrations or name in query.orchestrations)
        and instance.startswith(query.id_prefix)
        and (query.created_from is None or created_at >= query.created_from)
        and (query.created_before is None or created_at < query.created_before)
        and (query.updated_from is None or updated_at >= query.updated_from)
        and (query.updated_before is None or updated_at < query.updated_before)
        and (query.parent is None or parent == query.parent)
        and (not query.roots_only or parent is None)
        and (not query.labels or query.labels.items() <= labels_of(instance, labels).items())
    )


def _meets_parked(query: InstanceQuery, reason: str | None) -> bool:
    return (query.parked is None or query.parked == (reason is not None)) and (
        not query.parked_reasons or reason in query.parked_reasons
    )


def _size_of(state: InstanceState) -> int:
    return len(state.output or b"") + len(state.custom_status or b"")
