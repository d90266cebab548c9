"""A clock that disagrees with the stage's: of a machine whose time is ahead."""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds


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
