"""When to look for locks that are too long to be right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Instant, to_microseconds

FAR_INTERVAL = timedelta(seconds=30)


@dataclass(slots=True)
class FarLooks:
    """Such locks come from a clock that was ahead, and are rare.

    A look for them is due at first, whenever the own clock went back, and now and then for the sake
    of other machines' clocks, until it came to its end.
    """

    _since: Instant = 0
    _due: bool = True
    _newest: Instant = 0

    def begin(self, now: Instant) -> bool:
        """Whether this look is to look for them, too."""
        if now < self._newest or now >= self._since + to_microseconds(FAR_INTERVAL):
            self._due = True
        self._newest = now
        return self._due

    def end(self) -> None:
        """The look came to its end."""
        self._due, self._since = False, self._newest
