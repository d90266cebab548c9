"""Stamps of arrival: they order what came without a due time of its own.

They never go back within a process, whatever the clock does. Between processes they follow the
clocks, as far as these agree; a process that opens starts no lower than what waits already.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure.clock import Clock, Instant

from perdure_dynamodb._shards import Shards


class Stamps:
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
        return Arrival(self._last, f".{self._shards.opening:010d}{self._count:012d}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stamp, and a text that sorts the arrivals of one instant."""

    stamp: Instant
    text: str
