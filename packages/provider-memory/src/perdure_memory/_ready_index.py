"""The ready index: what can be leased, and from when; the same for instances and activities.

Every row is in exactly one place: in a *queue* of ready rows, first in first out; in the index of
lease and delay ends; in the index of due times; or nowhere. There is one queue for each combination
that callers filter by, so that unregistered work never blocks other work.

The place of a row can be out of date, because time passes and providers may have different clocks.
A caller therefore calls `update` before it reads the queues, and `oldest` checks each row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from heapq import merge
from itertools import count, islice
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

from perdure.clock import to_microseconds
from perdure.contract import FARTHEST_END, Instant, is_in_force

from perdure_memory._end_index import EndIndex
from perdure_memory._time_index import TimeIndex

_FOR_EVER: Instant = 2**63


QueueKey: TypeAlias = tuple[str | None, tuple[str | None, int]]
"""Of an instance: name, then version and engine. Of an activity: tag, then name and 0."""


class Leasable(ABC):
    """A row that can be leased."""

    __slots__ = ("count", "hidden_until", "leased_until", "released_at", "taken_from", "token")

    def __init__(self) -> None:
        self.token: str | None = None
        """Of its lease; None without one."""
        self.leased_until: Instant | None = None
        """The end of its lease; None without one."""
        self.count = 0
        """The attempt of an instance, or the delivery of an activity."""
        self.hidden_until: Instant | None = None
        """When its delay ends."""
        self.released_at: Instant | None = None
        """When its lease was last released."""
        self.taken_from: str | None = None
        """The token of the lease that was last taken over, until its count is taken back."""

    @property
    @abstractmethod
    def queue_key(self) -> QueueKey:
        """The key of the queue that holds it while it is ready."""

    @abstractmethod
    def visible_since(self, now: Instant) -> Instant | None:
        """Since when it has had a visible message, or has been visible itself; None if it is not."""

    @abstractmethod
    def next_due(self) -> Instant | None:
        """If nothing is visible, when something will be; None if that is not known."""

    @property
    def lease(self) -> tuple[str, Instant]:
        """The token of its lease and its end; raises `LookupError` if there is none."""
        if self.token is None or self.leased_until is None:
            raise LookupError("the row is not leased")
        return self.token, self.leased_until

    def held_until(self, now: Instant) -> Instant | None:
        """The end of its lease or delay, or None if neither is in force."""
        if is_in_force(self.leased_until, now):
            return self.leased_until
        return self.hidden_until if is_in_force(self.hidden_until, now) else None

    def delayed_until(self, now: Instant) -> Instant | None:
        """The end of the delay that is in force, or None."""
        return self.hidden_until if is_in_force(self.hidden_until, now) else None

    def is_leased(self, now: Instant) -> bool:
        """Whether a lease is in force."""
        return is_in_force(self.leased_until, now)

    def is_held_by(self, token: str) -> bool:
        """Whether this token holds the lease, in force or expired."""
        return self.token == token

    def uncount(self, token: str) -> None:
        """Take back the count of the lease that was last taken over, because its holder is alive."""
        if self.taken_from == token:
            self.taken_from = None
            self.count -= 1

    def leasable_since(self, now: Instant) -> Instant | None:
        """Since when it has been ready to lease without interruption; None if it is not."""
        since = self.visible_since(now)
        if since is None or self.held_until(now) is not None:
            return None
        return since if self.released_at is None else max(since, self.released_at)

    def waiting_since(self, now: Instant) -> Instant | None:
        """As `leasable_since`, and not before the end of a lease or a delay that ran out."""
        since = self.leasable_since(now)
        if since is None:
            return None
        ends = (self.leased_until, self.hidden_until)
        return max([since, *(end for end in ends if end is not None and end <= now)])


Row = TypeVar("Row", bound=Leasable)
ReadyQueue: TypeAlias = OrderedDict[Row, int]
"""Ready rows in the order in which they became ready, each with a number across all queues."""


class ReadyIndex(Generic[Row]):
    """The places of all rows of one kind, and their leases by token."""

    def __init__(self, on_work: Callable[[], None]) -> None:
        self._on_work = on_work
        """Called when a row becomes ready, or changes before the waiting calls look again."""
        self._looks_until: Instant = 0
        """Until when the last of the waiting calls sleeps: each was told when to look again.

        A lease that is kept ends later each time. If each new end woke the waiting calls, every step
        of a lone instance would pay for two looks.
        """
        self._queues: dict[str | None, dict[tuple[str | None, int], ReadyQueue[Row]]] = {}
        self._queue_of: dict[Row, QueueKey] = {}
        self._ends: EndIndex[Row] = EndIndex()
        self._dues: TimeIndex[Row] = TimeIndex()
        self._tokens: dict[str, dict[Row, None]] = {}
        self._numbers = count()

    @property
    def queues(self) -> Mapping[str | None, Mapping[tuple[str | None, int], ReadyQueue[Row]]]:
        """The queues that are not empty, by the two parts of their keys."""
        return self._queues

    def place(self, row: Row, now: Instant) -> None:
        """Put the row into its right place, and notify if there may be new work."""
        if self._move(row, now):
            self._looks_until = 0
            self._on_work()

    def forget(self, row: Row) -> None:
        """Remove the row from every place, and its lease."""
        if row.token is not None:
            self.revoke(row)
        self._ends.discard(row)
        if row in self._queue_of:
            self._dequeue(row)
        self._dues.discard(row)

    def update(self, now: Instant) -> None:
        """Move the rows whose place has changed with time, or with a clock that stepped."""
        moved = self._ends.until(now) + self._dues.until(now)
        moved.sort(key=itemgetter(0))
        for _, row in moved + self._ends.beyond(now + FARTHEST_END):
            self.place(row, now)

    def next_change(self, now: Instant) -> Instant | None:
        """When the place of a row may next change with time; for a call that sleeps until then."""
        times = [at for at in (self._ends.next_look(now), self._dues.first) if at is not None]
        at = min(times, default=None)
        self._looks_until = max(self._looks_until, _FOR_EVER if at is None else at)
        return at

    def take(self, row: Row, token: str, until: Instant, now: Instant) -> None:
        """Lease the row, and count the lease. An earlier lease is taken over."""
        if row.token is not None:
            row.taken_from = row.token
        row.count += 1
        self.grant(row, token, until, now)

    def grant(self, row: Row, token: str, until: Instant, now: Instant) -> None:
        """Set the lease of the row, in place of any other."""
        self.revoke(row)
        row.hidden_until = None
        self._set_lease(row, token, until)
        self.place(row, now)

    def grant_new(self, row: Row, token: str, until: Instant, now: Instant) -> None:
        """Set the lease of a row that has no place yet."""
        self._set_lease(row, token, until)
        if is_in_force(until, now):
            self._put_end(row, until)
        else:
            self.place(row, now)

    def _set_lease(self, row: Row, token: str, until: Instant) -> None:
        row.token, row.leased_until = token, until
        rows = self._tokens.get(token)
        if rows is None:
            self._tokens[token] = {row: None}
        else:
            rows[row] = None

    def keep(self, row: Row, until: Instant, now: Instant) -> None:
        """Let the lease that the row has end then."""
        if row not in self._ends or row.hidden_until is not None or not is_in_force(until, now):
            self.grant(row, row.lease[0], until, now)
            return
        row.leased_until = until
        self._put_end(row, until)

    def _put_end(self, row: Row, until: Instant) -> None:
        self._ends.put(row, until)
        if until < self._looks_until:  # a waiting call would look too late
            self._looks_until = 0
            self._on_work()

    def revoke(self, row: Row) -> None:
        """Remove the lease of the row; the caller places or forgets the row."""
        token = row.token
        if token is not None:
            rows = self._tokens[token]
            del rows[row]
            if not rows:
                del self._tokens[token]
            row.token = row.leased_until = None

    def release(self, row: Row, now: Instant, *, delay: timedelta = timedelta(0)) -> None:
        """Remove the lease, and hide the row for the delay."""
        self.revoke(row)
        row.released_at = now
        row.hidden_until = now + to_microseconds(delay) if delay else None
        self.place(row, now)

    def leased_by(self, token: str, now: Instant) -> list[Row]:
        """The rows with a lease of this token in force."""
        return [row for row in self._tokens.get(token, ()) if row.is_leased(now)]

    def leased_queues(self, now: Instant) -> set[QueueKey]:
        """The keys of the queues of all rows with a lease in force."""
        return {
            row.queue_key for rows in self._tokens.values() for row in rows if row.is_leased(now)
        }

    def oldest(self, queues: Sequence[ReadyQueue[Row]], limit: int, now: Instant) -> list[Row]:
        """Up to `limit` rows of these queues that are ready now, the longest ready first."""
        while True:
            numbered = merge(
                *(((number, row) for row, number in queue.items()) for queue in queues)
            )
            rows = [row for _, row in islice(numbered, limit)]
            misplaced = [row for row in rows if row.leasable_since(now) is None]
            if not misplaced:
                return rows
            # Without a notification: no waiting call missed these rows, and two providers whose clocks
            # differ would otherwise wake each other until the slower clock catches up.
            for row in misplaced:
                self._move(row, now)

    def _move(self, row: Row, now: Instant) -> bool:
        """Put the row into its right place; returns whether that may be new work for waiting calls."""
        end = row.held_until(now)
        if end is not None:
            self._dequeue(row)
            self._dues.discard(row)
            self._ends.put(row, end)
            return end < self._looks_until
        if row.visible_since(now) is not None:
            self._ends.discard(row)
            self._dues.discard(row)
            return self._enqueue(row)
        self._dequeue(row)
        self._ends.discard(row)
        due = row.next_due()
        if due is None:
            self._dues.discard(row)
            return False
        self._dues.put(row, due)
        return due < self._looks_until

    def _enqueue(self, row: Row) -> bool:
        queue_key = row.queue_key
        if self._queue_of.get(row) == queue_key:
            return False
        self._dequeue(row)
        outer, inner = queue_key
        self._queues.setdefault(outer, {}).setdefault(inner, OrderedDict())[row] = next(
            self._numbers
        )
        self._queue_of[row] = queue_key
        return True

    def _dequeue(self, row: Row) -> None:
        queue_key = self._queue_of.pop(row, None)
        if queue_key is None:
            return
        outer, inner = queue_key
        rows = self._queues[outer][inner]
        del rows[row]
        if not rows:
            del self._queues[outer][inner]
            if not self._queues[outer]:
                del self._queues[outer]
