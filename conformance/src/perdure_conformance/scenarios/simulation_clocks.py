"""The clocks of a simulation: one that knows which waits sleep, and one that is ahead of it.

A wait for work either sleeps on the clock or reads the storage, and time may pass only while it
sleeps. The clock recognises the wait by a mark in the context of the tasks that it starts.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta

from perdure.clock import Clock, Instant, ManualClock, to_microseconds


class Wait:
    """A wait for work that is under way."""

    def __init__(self) -> None:
        self.sleeps = 0
        """The number of its sleeps on the clock; with none it is reading."""


CURRENT_WAIT: ContextVar[Wait | None] = ContextVar("perdure_conformance_wait", default=None)


class SimulationClock(ManualClock):
    """A manual clock that notes which waits sleep on it."""

    async def sleep(self, duration: timedelta) -> None:
        """Wait until the clock was advanced past the due time."""
        wait = CURRENT_WAIT.get()
        if wait is None:
            await super().sleep(duration)
            return
        wait.sleeps += 1
        try:
            await super().sleep(duration)
        finally:
            wait.sleeps -= 1


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
