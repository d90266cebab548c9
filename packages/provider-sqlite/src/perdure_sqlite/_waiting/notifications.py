"""Waiting for work, for changes of an instance, and for lost leases.

A waiting call is woken when this process or another one commits something that concerns it, or when
something is due.

A commit of another process does not tell what it changed. So the instances that calls wait for are
read one after the other in one transaction, and only the calls that they concern are woken: a crowd of
calls that look for themselves would cost ten times as much.

No commit is missed: a call is registered before it looks, and a later commit wakes it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeAlias, TypeVar

from perdure.clock import Clock, to_microseconds
from perdure.contract import (
    ActivityLease,
    CancellationWait,
    ChangeWait,
    InstanceState,
    Instant,
    WorkWait,
    has_changed,
)
from perdure.errors import ProviderError, StorageClosed

from perdure_sqlite._file.identity import FileReplaced, replaced_error
from perdure_sqlite._operations.queue_heads import next_activity, next_turn
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.activities import FIND_ACTIVITY_LEASE
from perdure_sqlite._sql.instances import READ_CHANGE_MARKS, READ_INSTANCE, RUNNING
from perdure_sqlite._sql.rows import parked_of, state_of
from perdure_sqlite._waiting.damage_mark import DamageMark
from perdure_sqlite._waiting.polling import Poller
from perdure_sqlite._waiting.waiters import ChangeWaiter, LeaseWaiter, Waiter
from perdure_sqlite._writes.transaction import Transaction

AnyWaiter = TypeVar("AnyWaiter", bound=Waiter)
ChangeMarks: TypeAlias = tuple[str, str | None, str | None, str | None, Instant | None]
"""The columns of `READ_CHANGE_MARKS`."""

_BETWEEN_LOOKS = timedelta(milliseconds=100)
_LOOKS_PER_STEP = 200
"""How many instances are looked at before other tasks run."""


class Notifications:
    """All waiting calls of a provider."""

    def __init__(
        self, reader: Reader, clock: Clock, *, file: str, read_version: Callable[[], int | None]
    ) -> None:
        self.damage = DamageMark(clock, self._wake_change_waiters)
        self._reader = reader
        self._clock = clock
        self._file = file
        self._work_waiters: set[Waiter] = set()
        self._change_waiters: dict[str, set[ChangeWaiter]] = defaultdict(set)
        self._lease_waiters: set[Waiter] = set()
        self._lease_waiters_of: dict[str, set[LeaseWaiter]] = defaultdict(set)
        """By the instances of their leases."""
        self._poller = Poller(
            clock,
            file=file,
            read_version=read_version,
            is_needed=self._is_anyone_waiting,
            on_commit=self._wake_for_other_process,
        )

    def notify(self, transaction: Transaction) -> None:
        """Wake the calls that a commit of this process concerns."""
        self._poller.expect_more()
        for waiter in self._work_waiters:
            if (waiter.turns and transaction.next_turn_at < waiter.until) or (
                waiter.activities and transaction.next_activity_at < waiter.until
            ):
                waiter.wake()
        if self._change_waiters:
            for instance, continues in transaction.changed.items():
                for waiter in self._change_waiters.get(instance, ()):
                    if not (continues and waiter.wait.until_ended):
                        waiter.wake_for_commit()
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

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        """Return when the instance differs from what the caller saw, or after the timeout.

        The state is that of the look which found the difference.
        """
        waiter = ChangeWaiter(wait)
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        watchers = self._change_waiters[wait.instance]

        def look(reader: Reader) -> tuple[bool, InstanceState | None]:
            key = (reader.namespace, wait.instance)
            # A commit that wakes the call is most likely the one that it waits for.
            if not waiter.take_commit() and not self._differs(
                wait, reader.execute(READ_CHANGE_MARKS, key).fetchone()
            ):
                return False, None
            found = reader.execute(READ_INSTANCE, key).fetchone()
            state = None if found is None else self.damage.with_mark(state_of(found))
            return has_changed(wait, state), state

        try:
            with self._registered(waiter, watchers):
                while True:
                    waiter.prepare()
                    differs, state = await self._reader.run("wait_for_change", look)
                    if differs or await self._is_over(waiter, ALWAYS, deadline):
                        return state
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
                now = self._clock.now()
                if waiter.take_foreign() and deadline > now:
                    # Other processes may commit all the time, and each time all leases are read.
                    await waiter.pause(self._clock, now + to_microseconds(_BETWEEN_LOOKS))
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
        await self._poller.close()

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

    def _differs(self, wait: ChangeWait, marks: ChangeMarks | None) -> bool:
        if marks is None:
            return wait.exists
        status, last_commit, reason, details, since = marks
        parked = self.damage.parked(status, parked_of(reason, details, since))
        if not wait.exists or parked != wait.parked:
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
    def _registered(self, waiter: AnyWaiter, waiters: set[AnyWaiter]) -> Generator[None]:
        waiters.add(waiter)
        self._poller.start()
        try:
            yield
        finally:
            waiters.discard(waiter)

    def _is_anyone_waiting(self) -> bool:
        return bool(self._work_waiters or self._change_waiters or self._lease_waiters)

    async def _wake_for_other_process(self) -> None:
        for waiter in (*self._work_waiters, *self._lease_waiters):
            waiter.wake_for_other_process()
        await self._wake_changed()

    async def _wake_changed(self) -> None:
        """Wake the calls whose instance differs from what they saw."""
        instances = list(self._change_waiters)
        for begin in range(0, len(instances), _LOOKS_PER_STEP):
            part = instances[begin : begin + _LOOKS_PER_STEP]
            try:
                await self._reader.run("wait_for_change", partial(self._wake_each_changed, part))
            except ProviderError:
                # They get the error from their own looks.
                for waiter in self._waiters_of(part):
                    waiter.wake()
            await asyncio.sleep(0)

    def _wake_each_changed(self, instances: Sequence[str], reader: Reader) -> None:
        with reader.snapshot():
            for instance in instances:
                key = (reader.namespace, instance)
                marks = reader.execute(READ_CHANGE_MARKS, key).fetchone()
                for waiter in self._waiters_of((instance,)):
                    if self._differs(waiter.wait, marks):
                        waiter.wake()

    def _waiters_of(self, instances: Sequence[str]) -> list[ChangeWaiter]:
        return [waiter for each in instances for waiter in self._change_waiters.get(each, ())]


def _lost_leases(reader: Reader, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
    lost: set[ActivityLease] = set()
    for lease in leases:
        key = (reader.namespace, lease.instance, lease.activity, lease.token)
        if reader.execute(FIND_ACTIVITY_LEASE, key).fetchone() is None:
            lost.add(lease)
    return frozenset(lost)
