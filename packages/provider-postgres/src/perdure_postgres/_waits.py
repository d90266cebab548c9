"""Waiting for work, for changes of an instance, and for lost leases.

A waiting call looks, and then sleeps until this process writes something that concerns it, until
another process tells of such a write, or until something is due. It is registered before it looks,
so that no change between the look and the sleep is missed. News that name what it waits for end it
without another look, since the call that follows reads the database anyway. A write that ends an
instance asks for the state that it leaves if calls wait for it here when it is sent: what they get is
then newer than their begin.

What an earlier call has read is as good as a look, as long as no news came since that call began:
`Outlook` keeps when work is due, and `Memory` the states of instances.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from perdure.clock import Clock, to_microseconds
from perdure.contract import InstanceState, Instant
from perdure.errors import StorageClosed

from perdure_postgres._heads import Heads

ALWAYS: Final[Instant] = 2**62
"""Later than every instant."""
_MOST_REMEMBERED: Final = 1000

Read: TypeAlias = list[InstanceState | None]
"""What a read of an instance found; empty while it is under way."""


@dataclass(slots=True, kw_only=True)
class News:
    """What writes may have changed."""

    turns: bool = False
    activities: bool = False
    instances: Iterable[str] = ()
    """Those with another last commit, parked state or existence."""
    turning: Iterable[str] = ()
    """Those of them that were created, have ended, or were parked."""
    everything: bool = False


class Waiter:
    """One waiting call."""

    __slots__ = ("_error", "_woken", "is_over", "state")

    def __init__(self) -> None:
        self._woken: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.is_over = False
        """Whether news ended the call."""
        self.state: InstanceState | None = None
        """What the call waits for, if the write that ended it has told."""

    def prepare(self) -> None:
        """Forget earlier wakes; call this before each look."""
        self._woken = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Make the call look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def end(self) -> None:
        """Make the call return."""
        self.is_over = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """Make the call raise."""
        self._error = error
        self.wake()

    async def sleep_until(self, instant: Instant, clock: Clock) -> bool:
        """Sleep until a wake or until then; returns whether that time was reached."""
        woken = self._woken
        if woken is None:
            raise AssertionError("a waiter prepares before it sleeps")
        timer = asyncio.ensure_future(_sleep_until(instant, clock))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
            if timer.done():
                timer.result()
            return timer.done()
        finally:
            timer.cancel()


class Outlook:
    """When the next work is due for those who found none, by what they look for."""

    def __init__(self) -> None:
        self.heads = Heads()
        self._news = 0
        self._due: dict[str, tuple[int, Instant]] = {}

    def begin(self) -> int:
        """A mark for `found_nothing`; take it before the look."""
        return self._news

    def hear(self) -> None:
        """There is news of such work: what was found is outdated."""
        self._news += 1

    def found_nothing(self, asked: str, begun: int, at: Instant, *, now: Instant) -> None:
        """A look found nothing, and the next work is due then."""
        if (pause := self.heads.pause(asked)) is not None:
            # It may have begun behind older work.
            at = min(at, now + round(pause * 1_000_000))
        if len(self._due) >= _MOST_REMEMBERED:
            self._due.clear()
        self._due[asked] = begun, at

    def due(self, asked: str) -> Instant | None:
        """When the next work is due; None if a look must tell."""
        begun, at = self._due.get(asked, (-1, ALWAYS))
        return at if begun == self._news else None


class Memory:
    """What was read of instances, as long as there is no news of these."""

    def __init__(self) -> None:
        self._reads: OrderedDict[str, Read] = OrderedDict()

    def keep(self, instance: str, read: Read) -> None:
        """Keep a read that begins now."""
        self._reads[instance] = read
        self._reads.move_to_end(instance)
        if len(self._reads) > _MOST_REMEMBERED:
            self._reads.popitem(last=False)

    def take(self, instance: str) -> Read:
        """What was read, or nothing if it is outdated; it is not kept any longer."""
        return self._reads.pop(instance, [])

    def forget(self, instances: Iterable[str]) -> None:
        """There is news of these."""
        for instance in instances if self._reads else ():
            self._reads.pop(instance, None)

    def clear(self) -> None:
        """There may be news of all."""
        self._reads.clear()


class Waits:
    """All waiting calls of a provider."""

    def __init__(self, clock: Clock, *, storage: str) -> None:
        self._clock = clock
        self._storage = storage
        self._turns: set[Waiter] = set()
        self._activities: set[Waiter] = set()
        self._changes: dict[str, set[Waiter]] = defaultdict(set)
        self._ends: dict[str, set[Waiter]] = defaultdict(set)
        self._looks: set[asyncio.Future[Instant]] = set()
        """Looks under way, also those whose call was cancelled."""
        self.turns = Outlook()
        self.activities = Outlook()
        self.states = Memory()
        """Of every change."""
        self.ends = Memory()
        """Of creations, ends and parkings."""

    def hear(self, news: News) -> None:
        """End the calls that the news concern, or make them look."""
        self.states.forget(news.instances)
        self.ends.forget(news.turning)
        if news.turns or news.everything:
            self.turns.hear()
        if news.activities or news.everything:
            self.activities.hear()
        if news.everything:
            self.states.clear()
            self.ends.clear()
            for waiter in self._all():
                waiter.wake()
            return
        if news.turns:
            for waiter in self._turns:
                waiter.end()
        if news.activities:
            for waiter in self._activities:
                waiter.end()
        for instance in news.instances if self._changes else ():
            for waiter in self._changes.get(instance, ()):
                waiter.end()
        for instance in news.turning if self._ends else ():
            for waiter in self._ends.get(instance, ()):
                waiter.end()

    def until_end_of(self, instance: str) -> Collection[Waiter]:
        """The calls that wait for the end of an instance now."""
        return tuple(self._ends.get(instance, ()))

    def begin_read(self, instance: str) -> Read:
        """A read of an instance begins, which may spare a wait its look."""
        read: Read = []
        self.states.keep(instance, read)
        self.ends.keep(instance, read)
        return read

    async def close(self) -> None:
        """Make all waiting calls fail, and return when no look is under way."""
        for waiter in self._all():
            waiter.fail(
                StorageClosed(
                    f"the provider of {self._storage} was closed while this call waited",
                    operation="wait",
                )
            )
        if self._looks:
            await asyncio.wait(self._looks)

    async def wait(
        self,
        waiter: Waiter,
        timeout: timedelta,
        look: Callable[[], Awaitable[Instant]],
    ) -> None:
        """Return once `look` gives an instant that has come, or after the timeout."""
        deadline = self._clock.now() + to_microseconds(timeout)
        while True:
            waiter.prepare()
            at = await self._looked(look)
            now = self._clock.now()
            if waiter.is_over:
                return
            if at <= now or deadline <= now:
                return
            until = min(at, deadline)
            # Judged by the sleep, not by the time: a clock that steps back must not prolong the call.
            is_due = await waiter.sleep_until(until, self._clock)
            if waiter.is_over or (is_due and until == deadline):
                return

    async def _looked(self, look: Callable[[], Awaitable[Instant]]) -> Instant:
        """What the look found. It goes on if the call is cancelled, as core does at each notification.

        A statement that is broken off costs its connection, and the plans that the connection has.
        """
        looking = asyncio.ensure_future(look())
        self._looks.add(looking)
        looking.add_done_callback(self._looks.discard)
        looking.add_done_callback(_pass_over)
        return await asyncio.shield(looking)

    @contextmanager
    def for_work(self, *, turns: bool, activities: bool) -> Generator[Waiter]:
        """A waiter for work, registered as long as the block lasts."""
        waiter = Waiter()
        homes = [self._turns] * turns + [self._activities] * activities
        for home in homes:
            home.add(waiter)
        try:
            yield waiter
        finally:
            for home in homes:
                home.discard(waiter)

    @contextmanager
    def for_changes(self, instances: Iterable[str], *, turning: bool = False) -> Generator[Waiter]:
        """A waiter for changes of these instances, or only for their creation, end or parking."""
        waiter = Waiter()
        homes = self._ends if turning else self._changes
        names = tuple(frozenset(instances))
        for name in names:
            homes[name].add(waiter)
        try:
            yield waiter
        finally:
            for name in names:
                homes[name].discard(waiter)
                if not homes[name]:
                    del homes[name]

    def _all(self) -> list[Waiter]:
        by_name = (self._changes, self._ends)
        watchers = [each for homes in by_name for home in homes.values() for each in home]
        return [*self._turns, *self._activities, *watchers]


async def _sleep_until(instant: Instant, clock: Clock) -> None:
    # A clock may step before this starts to run, so the duration is computed here.
    await clock.sleep(timedelta(microseconds=max(0, instant - clock.now())))


def _pass_over(done: asyncio.Future[Instant]) -> None:
    """Retrieve the error of a look whose call has gone."""
    if not done.cancelled():
        done.exception()
