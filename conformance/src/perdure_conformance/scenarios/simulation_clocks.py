"""The clocks of a simulation: one that knows which waits sleep, and one that is ahead of it.

A wait for work either sleeps on the clock or reads the storage, and time may pass only while it
sleeps. The clock recognises the wait by a mark in the context of the tasks that it starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from perdure.clock import Clock, Instant, ManualClock, to_microseconds


class Wait:
    """A wait for work that is under way: where it does not sleep on the clock, it reads."""

    def __init__(self) -> None:
        self._sleeps = 0
        self._over = False
        self.still = asyncio.Event()
        """Set while it sleeps, and when it is over."""

    @contextmanager
    def sleep(self) -> Generator[None]:
        """One of its sleeps."""
        self._sleeps += 1
        self.still.set()
        try:
            yield
        finally:
            self._sleeps -= 1
            if not self._sleeps and not self._over:
                self.still.clear()

    def end(self) -> None:
        """Note that it is over."""
        self._over = True
        self.still.set()


CURRENT_WAIT: ContextVar[Wait | None] = ContextVar("perdure_conformance_wait", default=None)


class SimulationClock(ManualClock):
    """A manual clock that notes which waits sleep on it."""

    async def sleep(self, duration: timedelta) -> None:
        """Wait until the clock was advanced past the due time."""
        wait = CURRENT_WAIT.get()
        if wait is None:
            await super().sleep(duration)
            return
        with wait.sleep():
            await super().sleep(duration)


class ClockAhead(Clock):
    """Moves with another clock, and is ahead of it."""

    def __init__(self, base: Clock, ahead: timedelta) -> None:
        self._base = base
        self._ahead = to_microseconds(ahead)

    def now(self) -> Instant:
        """The other clock's instant plus the difference."""
        return self._base.now() + self._ahead

    async def sleep(self, duration: timedelta) -> None:
        """Sleep as long as the other clock takes."""
        await self._base.sleep(duration)
