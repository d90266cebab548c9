"""The time limit of one attempt of an activity, counted from the call of its function.

The runtime that runs the attempt keeps the limit, and reports the timeout as the attempt's
failure when the function has ended. So waiting in a queue does not count, and the next attempt,
which follows the failure, never begins while an async function of the last one still runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from perdure.clock import Clock, Instant, to_microseconds


class AttemptLimit:
    """Cancels the task that is in its block when the time is over; `is_over` says whether it did.

    The `CancelledError` ends at the block's end, as that of `asyncio.timeout` does, unless
    somebody else has cancelled the task too.
    """

    def __init__(self, clock: Clock, limit: timedelta, *, tell: Callable[[], None]) -> None:
        self._clock = clock
        self._limit = limit
        self._tell = tell
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.Future[None] | None = None
        self.is_over = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        ends = self._clock.now() + to_microseconds(self._limit)
        self._timer = asyncio.ensure_future(self._sleep_until(ends))
        self._timer.add_done_callback(self._end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if not self.is_over or task is None:
            return False
        return not task.uncancel() and kind is asyncio.CancelledError

    async def _sleep_until(self, ends: Instant) -> None:
        # The clock may be moved before this begins to run.
        await self._clock.sleep(timedelta(microseconds=ends - self._clock.now()))

    def _end(self, timer: asyncio.Future[None]) -> None:
        if self._task is not None and not timer.cancelled():
            self.is_over = True
            self._tell()
            self._task.cancel()
