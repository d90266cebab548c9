"""What can be leased, by whom, and from when: the same for instances and for activities.

Every row stands in exactly one place: in a *line* of ready rows, first come first served, one
line for each thing that callers filter by, so that work which nobody here serves is never in
the way; on the timeline of lease and delay ends; on the timeline of due messages; or nowhere.
A row's place may be out of date, since time passes and several clocks look: whoever looks first
calls `settle`, and whoever takes from a line has each row confirmed.

The queue interprets no payload, sends no message and checks no caller's right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import merge
from itertools import count, islice
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

from perdure.clock import to_microseconds
from perdure.contract import ALLOWED_SKEW, LONGEST_LEASE, Instant

from perdure_memory._timeline import Timeline

_LATEST_END = to_microseconds(LONGEST_LEASE + ALLOWED_SKEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A right that `token` has until then."""

    token: str
    until: Instant


def is_live(end: Instant, now: Instant) -> bool:
    """Whether a lease or a delay with this end holds; a far end is left by a clock gone back."""
    return now < end <= now + _LATEST_END


LineName: TypeAlias = tuple[str | None, tuple[str | None, int]]
"""Of an instance: name, and version and engine. Of an activity: tag, and name and nothing."""


class Leasable(ABC):
    """A row that can be leased."""

    __slots__ = ("count", "hidden_until", "lease", "released_at", "taken_from")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.count = 0
        """How often it was leased, as its kind of row counts."""
        self.hidden_until: Instant | None = None
        """The end of a delay."""
        self.released_at: Instant | None = None
        """When it was last given back."""
        self.taken_from: str | None = None
        """The token of the lease that was last taken over, until it is accounted for."""

    @property
    @abstractmethod
    def line(self) -> LineName:
        """The line in which it waits when it is ready."""

    @abstractmethod
    def visible_since(self, now: Instant) -> Instant | None:
        """Since when there has been something to lease it for, or None."""

    @abstractmethod
    def next_due(self) -> Instant | None:
        """When there will be something, where nothing is visible; None: nobody knows."""

    @property
    def held_lease(self) -> Lease:
        """The lease of a row that has one."""
        if self.lease is None:
            raise LookupError("the row is not leased")
        return self.lease

    def held_until(self, now: Instant) -> Instant | None:
        """The end of its live lease or delay, or None where it is free."""
        if self.lease is not None and is_live(self.lease.until, now):
            return self.lease.until
        if self.hidden_until is not None and is_live(self.hidden_until, now):
            return self.hidden_until
        return None

    def is_leased(self, now: Instant) -> bool:
        """Whether anybody has a live lease."""
        return self.lease is not None and is_live(self.lease.until, now)

    def is_held_by(self, token: str) -> bool:
        """Whether this token has a lease that stands, live or expired."""
        return self.lease is not None and self.lease.token == token

    def account_for(self, token: str) -> None:
        """Take back the count of the lease that was last taken over, since its holder lives."""
        if self.taken_from == token:
            self.taken_from = None
            self.count -= 1

    def untaken_since(self, now: Instant) -> Instant | None:
        """Since when nobody took it though it could be had; None where it cannot be had."""
        since = self.visible_since(now)
        if since is None or self.held_until(now) is not None:
            return None
        return since if self.released_at is None else max(since, self.released_at)


Row = TypeVar("Row", bound=Leasable)
Line: TypeAlias = OrderedDict[Row, int]
"""Ready rows, the first to be ready first, each with its number over all lines."""


class LeaseQueue(Generic[Row]):
    """The places of all rows of a kind, and their leases by token."""

    def __init__(self, on_work: Callable[[], None]) -> None:
        self._on_work = on_work
        """Called when a row becomes ready, or the next change comes earlier than before."""
        self._lines: dict[str | None, dict[tuple[str | None, int], Line[Row]]] = {}
        self._in_line: dict[Row, LineName] = {}
        self._ends: Timeline[Row] = Timeline()
        self._dues: Timeline[Row] = Timeline()
        self._tokens: dict[str, dict[Row, None]] = {}
        self._numbers = count()

    @property
    def lines(self) -> Mapping[str | None, Mapping[tuple[str | None, int], Line[Row]]]:
        """The lines that are not empty."""
        return self._lines

    def place(self, row: Row, now: Instant) -> None:
        """Put the row where it belongs now."""
        if self._move(row, now):
            self._on_work()

    def forget(self, row: Row) -> None:
        """Take the row out of every place, and its lease away."""
        self.revoke(row)
        self._leave_line(row)
        self._ends.discard(row)
        self._dues.discard(row)

    def settle(self, now: Instant) -> None:
        """Place anew the rows that time has moved: forward, or back by a wrong clock."""
        moved = self._ends.until(now) + self._dues.until(now)
        moved.sort(key=itemgetter(0))
        for _, row in moved + self._ends.beyond(now + _LATEST_END):
            self.place(row, now)

    def next_change(self) -> Instant | None:
        """When time will next move a row, as far as is known now."""
        times = [at for at in (self._ends.first, self._dues.first) if at is not None]
        return min(times, default=None)

    def take(self, row: Row, lease: Lease, now: Instant) -> None:
        """Lease the row, and count it. A lease that it has is taken over."""
        if row.lease is not None:
            row.taken_from = row.lease.token
        row.count += 1
        self.grant(row, lease, now)

    def grant(self, row: Row, lease: Lease, now: Instant) -> None:
        """Give the lease, instead of any that the row has."""
        self.revoke(row)
        row.lease = lease
        row.hidden_until = None
        self._tokens.setdefault(lease.token, {})[row] = None
        self.place(row, now)

    def revoke(self, row: Row) -> None:
        """Take the row's lease away; the caller places or forgets the row."""
        if row.lease is not None:
            rows = self._tokens[row.lease.token]
            del rows[row]
            if not rows:
                del self._tokens[row.lease.token]
            row.lease = None

    def release(self, row: Row, now: Instant, *, delay: timedelta = timedelta(0)) -> None:
        """Take the lease away and hide the row for the delay."""
        self.revoke(row)
        row.released_at = now
        row.hidden_until = now + to_microseconds(delay) if delay else None
        self.place(row, now)

    def leased_by(self, token: str, now: Instant) -> list[Row]:
        """The rows that this token has a live lease of."""
        return [row for row in self._tokens.get(token, ()) if row.is_leased(now)]

    def oldest(self, lines: Sequence[Line[Row]], limit: int, now: Instant) -> list[Row]:
        """Up to `limit` rows of these lines that are ready indeed, the longest waiting first."""
        while True:
            numbered = merge(*(((number, row) for row, number in line.items()) for line in lines))
            rows = [row for _, row in islice(numbered, limit)]
            stale = [row for row in rows if row.untaken_since(now) is None]
            if not stale:
                return rows
            # Quietly: who could have had it did not look past it, and two providers whose clocks
            # differ would otherwise wake each other until the later clock has come so far.
            for row in stale:
                self._move(row, now)

    def _move(self, row: Row, now: Instant) -> bool:
        """Put the row where it belongs now; tells whether waiters have something new to see."""
        end = row.held_until(now)
        if end is not None:
            self._leave_line(row)
            self._dues.discard(row)
            return self._put(self._ends, row, end)
        if row.visible_since(now) is not None:
            self._ends.discard(row)
            self._dues.discard(row)
            return self._join_line(row)
        self._leave_line(row)
        self._ends.discard(row)
        due = row.next_due()
        if due is None:
            self._dues.discard(row)
            return False
        return self._put(self._dues, row, due)

    def _join_line(self, row: Row) -> bool:
        line = row.line
        if self._in_line.get(row) == line:
            return False
        self._leave_line(row)
        outer, inner = line
        self._lines.setdefault(outer, {}).setdefault(inner, OrderedDict())[row] = next(
            self._numbers
        )
        self._in_line[row] = line
        return True

    def _leave_line(self, row: Row) -> None:
        line = self._in_line.pop(row, None)
        if line is None:
            return
        outer, inner = line
        rows = self._lines[outer][inner]
        del rows[row]
        if not rows:
            del self._lines[outer][inner]
            if not self._lines[outer]:
                del self._lines[outer]

    @staticmethod
    def _put(timeline: Timeline[Row], row: Row, when: Instant) -> bool:
        earlier = timeline.first is None or when < timeline.first
        timeline.put(row, when)
        return earlier
