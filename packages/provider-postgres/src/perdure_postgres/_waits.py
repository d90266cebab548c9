"""Waiting for work, for changes of an instance, and for lost leases.

A waiting call looks, and then sleeps until this process writes something that concerns it, until
another process tells of such a write, or until something is due. It is registered before it looks,
so that no change between the look and the sleep is missed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from perdure.clock import Clock, to_microseconds
from perdure.contract import Instant
from perdure.errors import StorageClosed

ALWAYS: Final[Instant] = 2**62
"""Later than every instant."""


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

    __slots__ = ("_error", "_woken")

    def __init__(self) -> None:
        self._woken: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def prepare(self) -> None:
        """Forget earlier wakes; call this before each look."""
        self._woken = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Make the call look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

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


class Waits:
    """All waiting calls of a provider."""

    def __init__(self, clock: Clock, *, storage: str) -> None:
        self._clock = clock
        self._storage = storage
        self._turns: set[Waiter] = set()
        self._activities: set[Waiter] = set()
        self._changes: dict[str, set[Waiter]] = defaultdict(set)
        self._ends: dict[str, set[Waiter]] = defaultdict(set)

    @property
    def has_any(self) -> bool:
        """Whether a call waits."""
        return bool(self._turns or self._activities or self._changes or self._ends)

    def hear(self, news: News) -> None:
        """Wake the calls that the news concern."""
        if news.everything:
            for waiter in self._all():
                waiter.wake()
            return
        if news.turns:
            for waiter in self._turns:
                waiter.wake()
        if news.activities:
            for waiter in self._activities:
                waiter.wake()
        for instance in news.instances if self._changes else ():
            for waiter in self._changes.get(instance, ()):
                waiter.wake()
        for instance in news.turning if self._ends else ():
            for waiter in self._ends.get(instance, ()):
                waiter.wake()

    def close(self) -> None:
        """Make all waiting calls fail."""
        for waiter in self._all():
            waiter.fail(
                StorageClosed(
                    f"the provider of {self._storage} was closed while this call waited",
                    operation="wait",
                )
            )

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
            at = await look()
            now = self._clock.now()
            if at <= now or deadline <= now:
                return
            until = min(at, deadline)
            # Judged by the sleep, not by the time: a clock that steps back must not prolong the call.
            if await waiter.sleep_until(until, self._clock) and until == deadline:
                return

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
