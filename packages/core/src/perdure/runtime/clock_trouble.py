"""Leases that were taken over before their end, as this process's clock tells it.

Only a clock that differs from another's by more than a lease does that. Two runtimes whose clocks
differ by even more than the contract bears take each other's work at every look. A runtime that
notices it says so in the log, lets the others work for a while before it looks again, longer each
time, and suspects no work meanwhile, since the counts of leases then say nothing about it.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.logs import of_instance

_LOGGER = logging.getLogger("perdure.runtime")
_BETWEEN_WARNINGS = to_microseconds(timedelta(minutes=1))
_LONGEST_PAUSE = timedelta(seconds=30)
_LASTS = to_microseconds(timedelta(minutes=5))
"""For how long counts are not believed after it was noticed last."""


class ClockTrouble:
    """What one runtime has noticed of it."""

    def __init__(self, clock: Clock, pause: timedelta) -> None:
        self._clock = clock
        self._first_pause = self._pause = pause
        self._warned_at: Instant | None = None
        self._noticed_at: Instant | None = None
        self.times = 0
        """How often it was noticed so far."""
        self._paused_for = 0

    @property
    def is_recent(self) -> bool:
        """Whether the counts of leases say nothing for now."""
        return self._noticed_at is not None and 0 <= self._clock.now() - self._noticed_at < _LASTS

    def lost(self, instance: str, until: Instant) -> None:
        """A lease with this end was taken over just now."""
        now = self._clock.now()
        if until <= now:
            return
        if not self.is_recent:
            self._pause = self._first_pause
        elif self.times == self._paused_for:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self.times += 1
        self._noticed_at = now
        if self._warned_at is not None and 0 <= now - self._warned_at < _BETWEEN_WARNINGS:
            return
        self._warned_at = now
        _LOGGER.warning(
            "the lease of instance %r was taken over %.1f s before its end: the clock of another"
            " process on this storage differs by more than a lease; set the clocks right",
            instance,
            (until - now) / 1_000_000,
            extra=of_instance(instance),
        )

    async def pause(self) -> None:
        """Let the others work for a while: not always the same, or all would look at once."""
        self._paused_for = self.times
        await self._clock.sleep(self._pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
