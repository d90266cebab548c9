"""Logs a call that fails again and again: once for each reason, then more and more rarely."""

from __future__ import annotations

import logging
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds

_LOGGER = logging.getLogger("perdure.runtime")
_FIRST_INTERVAL = to_microseconds(timedelta(seconds=30))
_LONGEST_INTERVAL = to_microseconds(timedelta(minutes=10))


class RepeatedFailures:
    """The failures of one kind of call, such as "leasing turns"."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._reason: str | None = None
        self._interval = 0
        self._logged_at: Instant = 0
        self._unlogged = 0

    def failed(self, error: Exception) -> None:
        """Log the failure, unless the same one was logged lately."""
        reason, now = str(error), self._clock.now()
        if reason != self._reason:
            self._reason, self._interval, self._unlogged = reason, _FIRST_INTERVAL, 0
        # A clock that stepped back must not silence it for longer.
        elif 0 <= now - self._logged_at < self._interval:
            self._unlogged += 1
            return
        else:
            self._interval = min(2 * self._interval, _LONGEST_INTERVAL)
        again = f" (and {self._unlogged} times more since it was logged)" if self._unlogged else ""
        self._logged_at, self._unlogged = now, 0
        _LOGGER.warning("%s failed: %s%s", self._what, error, again)

    def succeeded(self) -> None:
        """Forget the reason: it is logged when it comes again."""
        self._reason = None
