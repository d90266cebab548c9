"""The source of time: the clock that is given when a provider is opened.

Instants are whole microseconds since the Unix epoch, UTC: exact, sortable, the same in every
store. Durations are `timedelta`. Nothing else in Perdure reads the wall clock or sleeps, so a
test that advances a `ManualClock` moves leases, timers and waits together.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from perdure.errors import InvalidInput
from perdure.model.durations import to_duration
from perdure.model.shown import shown

Instant: TypeAlias = int
"""Microseconds since the Unix epoch, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(duration: timedelta) -> int:
    """The duration in whole microseconds."""
    return duration // _MICROSECOND


def to_datetime(instant: Instant) -> datetime:
    """The instant as an aware datetime in UTC; the last of all for one after the year 9999."""
    try:
        return _EPOCH + timedelta(microseconds=instant)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def to_instant(moment: datetime) -> Instant:
    """The instant of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


class Clock(ABC):
    """Tells the time and waits for it."""

    @abstractmethod
    def now(self) -> Instant:
        """The present instant. It may step back, as wall clocks do."""

    @abstractmethod
    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration`; at once if it is not positive. Can be cancelled."""


class SystemClock(Clock):
    """The machine's wall clock, and the event loop's sleep."""

    def now(self) -> Instant:
        """The wall clock's present instant."""
        return time.time_ns() // 1000

    async def sleep(self, duration: timedelta) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


class ManualClock(Clock):
    """A clock that moves only when told to, for tests.

    It belongs to one event loop. `advance` moves the time in one step and wakes the
    sleepers that are due, in the order of their due times.
    """

    def __init__(self, start: datetime | None = None) -> None:
        begin = datetime(2030, 1, 1, tzinfo=UTC) if start is None else start
        if not isinstance(begin, datetime) or begin.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            raise InvalidInput(f"start {shown(start)} is no instant; pass an aware datetime")
        self._now: Instant = to_instant(begin)
        self._sleepers: list[tuple[Instant, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> Instant:
        """The instant that the clock was last moved to."""
        return self._now

    async def sleep(self, duration: timedelta) -> None:
        """Return once the clock has been advanced past the due time."""
        delay = to_microseconds(duration)
        if delay <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + delay, self._count, waiter))
        await waiter

    @property
    def next_due(self) -> Instant | None:
        """When the next sleeper is due; None if nothing sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance(self, duration: timedelta | float) -> None:
        """Move the time forward and wake the sleepers that are due; `step_back` moves it backwards."""
        self._now += to_microseconds(to_duration(duration, "duration"))
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)

    def step_back(self, duration: timedelta | float) -> None:
        """Move the time backwards, as a corrected wall clock does; sleepers keep their wait."""
        step = to_microseconds(to_duration(duration, "duration"))
        self._now -= step
        self._sleepers = [(due - step, count, waiter) for due, count, waiter in self._sleepers]
