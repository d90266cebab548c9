"""Arrivals: they order what came without a due time of its own.

They never go back within a process, whatever the clock does. Between processes they follow the
clocks, as far as these agree; a process that opens starts no lower than what waits already.
Arrivals of one instant are told apart by the machine's monotonic counter, which its processes
share, then by the opening and a count: nothing but the order among equals comes from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from perdure.clock import Clock, Instant

from perdure_dynamodb._shards import Shards


class Arrivals:
    """When something arrived: never before what arrived earlier, whatever the clock says."""

    def __init__(self, clock: Clock, shards: Shards) -> None:
        self._clock = clock
        self._shards = shards
        self._last: Instant = 0
        self._count = 0

    def raise_to(self, floor: Instant) -> None:
        """Never stamp below this any more."""
        self._last = max(self._last, floor)

    def next(self) -> Arrival:
        """The next arrival."""
        self._last = max(self._last, self._clock.now())
        self._count += 1
        text = f".{time.monotonic_ns():020d}{self._shards.opening:08d}{self._count:010d}"
        return Arrival(self._last, text)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stamp, and a text that sorts the arrivals of one instant."""

    stamp: Instant
    text: str
