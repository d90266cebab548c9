"""The clocks of a simulation: one that knows who sleeps, and one that is ahead of it.

A wait for work, seen from outside, is either asleep on the clock or looking at the storage; time
may pass only in the first case. The simulation's clock tells which, by a mark that the wait leaves in
the context of whatever it begins.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta

from perdure.clock import Clock, Instant, ManualClock, to_microseconds


class Wait:
    """A wait for work that is under way."""

    def __init__(self) -> None:
        self.sleeps = 0
        """How many sleeps on the clock belong to it now; with none it is looking."""


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
        """The other clock's instant, and what this one is ahead."""
        return self._base.now() + self._ahead

    async def sleep(self, duration: timedelta) -> None:
        """As long as the other clock takes."""
        await self._base.sleep(duration)
