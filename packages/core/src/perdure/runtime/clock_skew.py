"""Notices clocks that differ by more than a lease: leases taken over before their end here.

Two runtimes with such clocks take each other's work at every look. So a runtime that loses a large
share of its work logs it, and lets the others work for a while before it looks again, longer each
time. A few losses among much work have other reasons (an instance that another process ended, a
storage that lost a lease), and slow nothing. After any loss the runtime suspects no work for a
while, because the counts of leases say less about it then.
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
"""How long after a loss the counts of leases say nothing."""
_FEWEST = 3
_SHARE = 4
"""At least `_FEWEST` leases must be lost, and one for every `_SHARE` that were kept."""
_MUCH = 100
"""After so many kept leases the count starts again, so that skew that begins later shows at once."""


class _LostShare:
    """How much of the latest work was lost."""

    def __init__(self, skew: ClockSkew) -> None:
        self._skew = skew
        self._lost = skew.losses
        self._kept = skew.kept

    def is_large(self, *, of_at_least: int = _FEWEST) -> bool:
        """Whether clocks that differ are the likely reason; for a caller that saw a loss.

        The count starts again if they are, and after `_MUCH` kept leases.
        """
        lost, kept = self._skew.losses - self._lost, self._skew.kept - self._kept
        is_large = lost >= of_at_least and lost * _SHARE >= kept
        if is_large or kept >= _MUCH:
            self._lost, self._kept = self._skew.losses, self._skew.kept
        return is_large


class ClockSkew:
    """What one runtime has noticed of it."""

    def __init__(self, clock: Clock, pause: timedelta) -> None:
        self._clock = clock
        self._first_pause = self._pause = pause
        self._warned_at: Instant | None = None
        self._noticed_at: Instant | None = None
        self.losses = 0
        """How many leases were lost so far."""
        self.kept = 0
        """How many turns and activities were stored under their leases."""
        self._for_the_log = _LostShare(self)
        self._for_a_pause = _LostShare(self)
        self._for_growth = _LostShare(self)

    @property
    def is_recent(self) -> bool:
        """Whether the counts of leases say nothing for now."""
        return self._noticed_at is not None and 0 <= self._clock.now() - self._noticed_at < _LASTS

    def lease_lost(self, instance: str, until: Instant) -> None:
        """A lease with this end was taken over just now."""
        now = self._clock.now()
        if until <= now:
            return
        if not self.is_recent:
            self._pause = self._first_pause
        self.losses += 1
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
        """Let other runtimes work for a while if much is lost; they must not all look at once."""
        if not self._for_a_pause.is_large(of_at_least=1):
            return
        if self._for_growth.is_large():
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        await self._clock.sleep(self._pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
