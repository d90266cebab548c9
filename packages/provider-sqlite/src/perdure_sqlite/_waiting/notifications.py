"""Waiting for work, for changes of an instance, and for lost leases.

A waiting call is woken when this process commits something that concerns it, when another process
commits anything, or when something is due. Commits of other processes show in `PRAGMA data_version`,
a counter in shared memory. One task polls it on behalf of all waiting calls, more often while
something happens; with a manual clock there is no polling, since nothing would advance its sleep.

No commit is missed: a call is registered before it looks, and a later commit wakes it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from perdure.clock import Clock, ManualClock, to_microseconds
from perdure.contract import (
    ActivityLease,
    CancellationWait,
    ChangeWait,
    Instant,
    WorkWait,
)
from perdure.errors import StorageClosed

from perdure_sqlite._file.identity import FileReplaced, replaced_error
from perdure_sqlite._operations.queue_heads import next_activity, next_turn
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.activities import FIND_ACTIVITY_LEASE
from perdure_sqlite._sql.instances import READ_CHANGE_MARKS, RUNNING
from perdure_sqlite._sql.rows import parked_of
from perdure_sqlite._waiting.damage_mark import DamageMark
from perdure_sqlite._waiting.waiters import LeaseWaiter, Waiter
from perdure_sqlite._writes.transaction import Transaction

_SHORTEST_INTERVAL = timedelta(milliseconds=5)
_USUAL_INTERVAL = timedelta(milliseconds=50)
_LONGEST_INTERVAL = timedelta(milliseconds=100)
_SLOWING, _SLOWING_LATER = 1.2, 1.01
_BETWEEN_LOOKS = timedelta(milliseconds=100)


class Notifications:
    """All waiting calls of a provider."""

    def __init__(
        self, reader: Reader, clock: Clock, *, file: str, read_version: Callable[[], int | None]
    ) -> None:
        self.damage = DamageMark(clock, self._wake_change_waiters)
        self._reader = reader
        self._clock = clock
        self._file = file
        self._read_version = read_version
        """Returns a number that commits of other processes change, or None if it is not known now."""
        self._version: int | None = None
        self._work_waiters: set[Waiter] = set()
        self._change_waiters: dict[str, set[Waiter]] = defaultdict(set)
        self._lease_waiters: set[Waiter] = set()
        self._lease_waiters_of: dict[str, set[LeaseWaiter]] = defaultdict(set)
        """By the instances of their leases."""
        self._poller: asyncio.Task[None] | None = None
        self._interval = _SHORTEST_INTERVAL

    def notify(self, transaction: Transaction) -> None:
        """Wake the calls that a commit of this process concerns."""
        self._interval = _SHORTEST_INTERVAL
        for waiter in self._work_waiters:
            if (waiter.turns and transaction.next_turn_at < waiter.until) or (
                waiter.activities and transaction.next_activity_at < waiter.until
            ):
                waiter.wake()
        if self._change_waiters:
            for instance, continues in transaction.changed.items():
                for waiter in self._change_waiters.get(instance, ()):
                    if not (continues and waiter.until_ended):
                        waiter.wake()
        if self._lease_waiters:
            for instance in transaction.changed:
                for waiter in self._lease_waiters_of.get(instance, ()):
                    waiter.wake_for(instance)

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Return when there may be work, or after the timeout."""
        waiter = Waiter(turns=wait.serves is not None, activities=bool(wait.activity_names))
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        with self._registered(waiter, self._work_waiters):
            while True:
                waiter.prepare()
                at = await self._reader.run(
                    "wait_for_work", lambda reader: self._next(wait, reader)
                )
                if await self._is_over(waiter, at, deadline):
                    return

    async def wait_for_change(self, wait: ChangeWait) -> None:
        """Return when the instance differs from what the caller saw, or after the timeout."""
        waiter = Waiter(until_ended=wait.until_ended)
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        watchers = self._change_waiters[wait.instance]
        try:
            with self._registered(waiter, watchers):
                while True:
                    waiter.prepare()
                    if await self._reader.run(
                        "wait_for_change", lambda reader: self._differs(wait, reader)
                    ):
                        return
                    if await self._is_over(waiter, ALWAYS, deadline):
                        return
        finally:
            if not watchers and self._change_waiters.get(wait.instance) is watchers:
                del self._change_waiters[wait.instance]

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Return the lost leases as soon as there is one, or after the timeout."""
        waiter = LeaseWaiter(wait.leases)
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        with self._registered_for_leases(waiter):
            while True:
                waiter.prepare()
                lost = await self._lost_leases(waiter.take_stale())
                if lost:
                    return lost
                if waiter.take_foreign() and deadline > self._clock.now():
                    # Other processes may commit all the time, and each time all leases are read.
                    await self._clock.sleep(_BETWEEN_LOOKS)
                if not waiter.is_stale and await self._is_over(waiter, ALWAYS, deadline):
                    return await self._lost_leases(wait.leases)

    async def _lost_leases(self, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
        return await self._reader.run(
            "wait_for_cancellation", lambda reader: _lost_leases(reader, leases)
        )

    @contextmanager
    def _registered_for_leases(self, waiter: LeaseWaiter) -> Generator[None]:
        for instance in waiter.leases:
            self._lease_waiters_of[instance].add(waiter)
        try:
            with self._registered(waiter, self._lease_waiters):
                yield
        finally:
            for instance in waiter.leases:
                self._lease_waiters_of[instance].discard(waiter)
                if not self._lease_waiters_of[instance]:
                    del self._lease_waiters_of[instance]

    async def close(self, reason: FileReplaced | None = None) -> None:
        """Make all waiting calls fail."""
        for waiter in self._all():
            if reason is not None:
                waiter.fail(replaced_error(reason, file=self._file, operation="wait"))
                continue
            waiter.fail(
                StorageClosed(
                    f"the provider of {self._file!r} was closed while this call waited",
                    operation="wait",
                )
            )
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])

    def _all(self) -> list[Waiter]:
        watchers = (waiter for each in self._change_waiters.values() for waiter in each)
        return [*self._work_waiters, *watchers, *self._lease_waiters]

    def _next(self, wait: WorkWait, reader: Reader) -> Instant:
        now = self._clock.now()
        at = ALWAYS
        if wait.serves is not None:
            at = next_turn(reader, wait.serves, now)
        if wait.activity_names and at > now:
            at = min(at, next_activity(reader, wait.activity_names, wait.activity_tags, now))
        return at

    def _differs(self, wait: ChangeWait, reader: Reader) -> bool:
        found = reader.execute(READ_CHANGE_MARKS, (reader.namespace, wait.instance)).fetchone()
        if found is None:
            return wait.exists
        status, last_commit, *parked = found
        if not wait.exists or self.damage.parked(status, parked_of(*parked)) != wait.parked:
            return True
        return last_commit != wait.last_commit and (not wait.until_ended or status != RUNNING)

    def _wake_change_waiters(self) -> None:
        for watchers in self._change_waiters.values():
            for waiter in watchers:
                waiter.wake()

    async def _is_over(self, waiter: Waiter, at: Instant, deadline: Instant) -> bool:
        """Sleep, unless work or the deadline has come; returns whether the call ends."""
        now = self._clock.now()
        if at <= now or deadline <= now:
            return True
        waiter.until = min(at, deadline)
        slept = await waiter.sleep(self._clock)
        # Judged by the sleep, not by the time: a clock that steps back must not prolong the call.
        return slept and waiter.until == deadline

    @contextmanager
    def _registered(self, waiter: Waiter, waiters: set[Waiter]) -> Generator[None]:
        waiters.add(waiter)
        if self._poller is None and not isinstance(self._clock, ManualClock):
            self._poller = asyncio.ensure_future(self._poll())
        try:
            yield
        finally:
            waiters.discard(waiter)

    async def _poll(self) -> None:
        """Poll for commits of other processes as long as a call waits."""
        try:
            while self._work_waiters or self._change_waiters or self._lease_waiters:
                await self._clock.sleep(self._interval)
                version = self._read_version()
                if version is None or version == self._version:
                    self._slow_down()
                    continue
                self._version = version
                self._interval = _SHORTEST_INTERVAL
                for waiter in self._all():
                    waiter.wake_for_other_process()
        finally:
            self._poller = None

    def _slow_down(self) -> None:
        """Poll less often: soon every 50 ms, and after a few quiet seconds every 100 ms."""
        slowing = _SLOWING if self._interval < _USUAL_INTERVAL else _SLOWING_LATER
        self._interval = min(_LONGEST_INTERVAL, self._interval * slowing)


def _lost_leases(reader: Reader, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
    lost: set[ActivityLease] = set()
    for lease in leases:
        key = (reader.namespace, lease.instance, lease.activity, lease.token)
        if reader.execute(FIND_ACTIVITY_LEASE, key).fetchone() is None:
            lost.add(lease)
    return frozenset(lost)
