"""Leases that were taken over before their end, as this process's clock tells it.

Clocks that differ by more than a lease do that all the time: two such runtimes take each other's
work at every look. So a runtime that loses a large share of its work says so in the log, and lets the
others work for a while before it looks again, longer each time. A few losses among much work have
other reasons (an instance that another process ended, a storage that lost a lease), and slow
nothing. After any loss the runtime suspects no work for a while, since the counts of leases then
say less about it.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.diagnostics.logs import of_instance

_LOGGER = logging.getLogger("perdure.runtime")
_BETWEEN_WARNINGS = to_microseconds(timedelta(minutes=1))
_LONGEST_PAUSE = timedelta(seconds=30)
_LASTS = to_microseconds(timedelta(minutes=5))
"""For how long counts are not believed after a loss."""
_FEWEST = 3
_SHARE = 4
"""So many leases must be lost, and one for so many that were kept."""
_MUCH = 100
"""So much work that was kept says enough: trouble that begins later must be seen at once."""


class _LostShare:
    """How much of the latest work was lost."""

    def __init__(self, trouble: ClockTrouble) -> None:
        self._trouble = trouble
        self._lost = trouble.times
        self._kept = trouble.kept

    def is_large(self, *, of_at_least: int = _FEWEST) -> bool:
        """Whether clocks that differ are the likely reason. Asked at a loss.

        What was counted is forgotten then, and once there is much of it.
        """
        lost, kept = self._trouble.times - self._lost, self._trouble.kept - self._kept
        is_large = lost >= of_at_least and lost * _SHARE >= kept
        if is_large or kept >= _MUCH:
            self._lost, self._kept = self._trouble.times, self._trouble.kept
        return is_large


class ClockTrouble:
    """What one runtime has noticed of it."""

    def __init__(self, clock: Clock, pause: timedelta) -> None:
        self._clock = clock
        self._first_pause = self._pause = pause
        self._warned_at: Instant | None = None
        self._noticed_at: Instant | None = None
        self.times = 0
        """How many leases were lost so far."""
        self.kept = 0
        """How many turns and activities were stored under theirs."""
        self._for_the_log = _LostShare(self)
        self._for_a_pause = _LostShare(self)
        self._for_growth = _LostShare(self)

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
        self.times += 1
        self._noticed_at = now
        if not self._for_the_log.is_large():
            return
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
        """Let the others work for a while, where much is lost.

        Not always for the same time, or all would look at once.
        """
        if not self._for_a_pause.is_large(of_at_least=1):
            return
        if self._for_growth.is_large():
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        await self._clock.sleep(self._pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
