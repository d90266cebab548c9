"""Waiting for work and for changes.

A waiter looks first, and then sleeps until something is due, until this process has committed
something that concerns it, or until another process has committed anything. The latter shows in
`PRAGMA data_version`, a counter in shared memory: one task asks for it on behalf of all waiters,
more often while something happens. All sleeping goes through the clock. Where that is moved by
hand there is no asking: nobody would sleep through it.

No commit is missed: a waiter is registered before it looks, and whatever is committed after the
look wakes it.
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

from perdure_sqlite._finding import Finding
from perdure_sqlite._looking import next_activity, next_turn
from perdure_sqlite._place import Displaced, displaced
from perdure_sqlite._reading import Reading
from perdure_sqlite._rows import parked_of
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import ALWAYS
from perdure_sqlite._sql.activities import FIND_STANDING_LEASE
from perdure_sqlite._sql.instances import READ_CHANGE_MARKS, RUNNING

_SHORTEST_INTERVAL = timedelta(milliseconds=5)
_USUAL_INTERVAL = timedelta(milliseconds=50)
_LONGEST_INTERVAL = timedelta(milliseconds=100)
_SLOWING, _SLOWING_LATER = 1.2, 1.01
_BETWEEN_LOOKS = timedelta(milliseconds=100)


class Waiter:
    """One waiting call."""

    __slots__ = ("_bell", "activities", "turns", "until", "until_ended")

    def __init__(
        self, *, turns: bool = False, activities: bool = False, until_ended: bool = False
    ) -> None:
        self.until_ended = until_ended
        self.turns = turns
        self.activities = activities
        self.until: Instant = ALWAYS
        """When it looks again in any case."""
        self._bell: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Forget earlier wakes; called before each look."""
        self._bell = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Let it look again."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def wake_for_others(self) -> None:
        """Let it look again: another process has committed something."""
        self.wake()

    def fail(self, error: Exception) -> None:
        """Let the call fail."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_exception(error)

    async def sleep(self, clock: Clock) -> bool:
        """Sleep until woken or until `until`; whether that was reached."""
        bell = self._bell
        if bell is None:
            raise AssertionError("a waiter prepares before it sleeps")
        timer = asyncio.ensure_future(_sleep_until(clock, self.until))
        # A timer that is cancelled here ends when the next look is prepared: it must not wake that.
        timer.add_done_callback(lambda done: None if done.cancelled() else self.wake())
        try:
            await bell
            if timer.done():
                timer.result()
            return timer.done()
        finally:
            timer.cancel()


class Keeper(Waiter):
    """One call that waits for the loss of leases; knows which of them are worth a look."""

    __slots__ = ("_is_foreign", "_stale", "leases")

    def __init__(self, leases: Sequence[ActivityLease]) -> None:
        super().__init__()
        self.leases: dict[str, list[ActivityLease]] = defaultdict(list)
        """By instance."""
        for lease in leases:
            self.leases[lease.instance].append(lease)
        self._stale = set(self.leases)
        self._is_foreign = False

    @property
    def is_stale(self) -> bool:
        """Whether something happened since the last look."""
        return bool(self._stale)

    def wake_for(self, instance: str) -> None:
        """Let it look again at the leases of one instance."""
        self._stale.add(instance)
        self.wake()

    def wake_for_others(self) -> None:
        """Let it look again at all its leases: another process has committed something."""
        self._stale.update(self.leases)
        self._is_foreign = True
        self.wake()

    def take_stale(self) -> list[ActivityLease]:
        """What to look at now."""
        stale, self._stale = self._stale, set[str]()
        return [lease for instance in stale for lease in self.leases[instance]]

    def take_foreign(self) -> bool:
        """Whether another process made it look since this was last asked."""
        foreign, self._is_foreign = self._is_foreign, False
        return foreign


class Waits:
    """The waiters of a provider."""

    def __init__(
        self, reading: Reading, clock: Clock, *, file: str, read_version: Callable[[], int | None]
    ) -> None:
        self.finding = Finding(clock, self._wake_watchers)
        self._reading = reading
        self._clock = clock
        self._file = file
        self._read_version = read_version
        """Gives a number that another process's commit changes; None: not to be known now."""
        self._version: int | None = None
        self._workers: set[Waiter] = set()
        self._watchers: dict[str, set[Waiter]] = defaultdict(set)
        self._keepers: set[Waiter] = set()
        self._keepers_of: dict[str, set[Keeper]] = defaultdict(set)
        """The same, by the instances of their leases."""
        self._poller: asyncio.Task[None] | None = None
        self._interval = _SHORTEST_INTERVAL

    def tell(self, session: Session) -> None:
        """This process has committed: wake whom it concerns."""
        self._interval = _SHORTEST_INTERVAL
        for waiter in self._workers:
            if (waiter.turns and session.turns_from < waiter.until) or (
                waiter.activities and session.activities_from < waiter.until
            ):
                waiter.wake()
        if self._watchers:
            for instance, goes_on in session.changed.items():
                for waiter in self._watchers.get(instance, ()):
                    if not (goes_on and waiter.until_ended):
                        waiter.wake()
        if self._keepers:
            for instance in session.changed:
                for keeper in self._keepers_of.get(instance, ()):
                    keeper.wake_for(instance)

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Return when there may be work, or after the timeout."""
        waiter = Waiter(turns=wait.serves is not None, activities=bool(wait.activity_names))
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        with self._registered(waiter, self._workers):
            while True:
                waiter.prepare()
                at = await self._reading.run(
                    "wait_for_work", lambda reader: self._next(wait, reader)
                )
                if await self._is_over(waiter, at, deadline):
                    return

    async def wait_for_change(self, wait: ChangeWait) -> None:
        """Return when the instance differs from what was seen, or after the timeout."""
        waiter = Waiter(until_ended=wait.until_ended)
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        watchers = self._watchers[wait.instance]
        try:
            with self._registered(waiter, watchers):
                while True:
                    waiter.prepare()
                    if await self._reading.run(
                        "wait_for_change", lambda reader: self._differs(wait, reader)
                    ):
                        return
                    if await self._is_over(waiter, ALWAYS, deadline):
                        return
        finally:
            if not watchers and self._watchers.get(wait.instance) is watchers:
                del self._watchers[wait.instance]

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Return the leases that are gone as soon as there is one, or after the timeout."""
        keeper = Keeper(wait.leases)
        deadline = self._clock.now() + to_microseconds(wait.timeout)
        with self._kept(keeper):
            while True:
                keeper.prepare()
                gone = await self._gone(keeper.take_stale())
                if gone:
                    return gone
                if keeper.take_foreign() and deadline > self._clock.now():
                    # Others may commit all the time, and each time all leases are looked at.
                    await self._clock.sleep(_BETWEEN_LOOKS)
                if not keeper.is_stale and await self._is_over(keeper, ALWAYS, deadline):
                    return await self._gone(wait.leases)

    async def _gone(self, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
        return await self._reading.run(
            "wait_for_cancellation", lambda reader: _gone(reader, leases)
        )

    @contextmanager
    def _kept(self, keeper: Keeper) -> Generator[None]:
        for instance in keeper.leases:
            self._keepers_of[instance].add(keeper)
        try:
            with self._registered(keeper, self._keepers):
                yield
        finally:
            for instance in keeper.leases:
                self._keepers_of[instance].discard(keeper)
                if not self._keepers_of[instance]:
                    del self._keepers_of[instance]

    async def close(self, reason: Displaced | None = None) -> None:
        """Let all waiting calls fail."""
        for waiter in self._all():
            if reason is not None:
                waiter.fail(displaced(reason, file=self._file, operation="wait"))
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
        watchers = (waiter for each in self._watchers.values() for waiter in each)
        return [*self._workers, *watchers, *self._keepers]

    def _next(self, wait: WorkWait, reader: Reading) -> Instant:
        now = self._clock.now()
        at = ALWAYS
        if wait.serves is not None:
            at = next_turn(reader, wait.serves, now)
        if wait.activity_names and at > now:
            at = min(at, next_activity(reader, wait.activity_names, wait.activity_tags, now))
        return at

    def _differs(self, wait: ChangeWait, reader: Reading) -> bool:
        found = reader.execute(READ_CHANGE_MARKS, (reader.namespace, wait.instance)).fetchone()
        if found is None:
            return False
        status, last_commit, *parked = found
        if not wait.exists or self.finding.parked(status, parked_of(*parked)) != wait.parked:
            return True
        return last_commit != wait.last_commit and (not wait.until_ended or status != RUNNING)

    def _wake_watchers(self) -> None:
        for watchers in self._watchers.values():
            for waiter in watchers:
                waiter.wake()

    async def _is_over(self, waiter: Waiter, at: Instant, deadline: Instant) -> bool:
        """Sleep, unless there is work already or no time left; whether the call is at its end."""
        now = self._clock.now()
        if at <= now or deadline <= now:
            return True
        waiter.until = min(at, deadline)
        slept = await waiter.sleep(self._clock)
        # By the sleep, not by the time: a clock that steps back must not prolong the call.
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
        """Ask for commits of other processes as long as anybody waits."""
        try:
            while self._workers or self._watchers or self._keepers:
                await self._clock.sleep(self._interval)
                version = self._read_version()
                if version is None or version == self._version:
                    self._slow_down()
                    continue
                self._version = version
                self._interval = _SHORTEST_INTERVAL
                for waiter in self._all():
                    waiter.wake_for_others()
        finally:
            self._poller = None

    def _slow_down(self) -> None:
        """Ask less often: soon every 50 ms, and after some seconds of rest every 100 ms."""
        slowing = _SLOWING if self._interval < _USUAL_INTERVAL else _SLOWING_LATER
        self._interval = min(_LONGEST_INTERVAL, self._interval * slowing)


async def _sleep_until(clock: Clock, instant: Instant) -> None:
    # The clock may be moved before this begins to run, so only here is it known how long.
    await clock.sleep(timedelta(microseconds=instant - clock.now()))


def _gone(reader: Reading, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
    gone: set[ActivityLease] = set()
    for lease in leases:
        key = (reader.namespace, lease.instance, lease.activity, lease.token)
        if reader.execute(FIND_STANDING_LEASE, key).fetchone() is None:
            gone.add(lease)
    return frozenset(gone)
