"""Notices commits of other processes.

They show in `PRAGMA data_version`, a counter in shared memory. One task polls it as long as a call
waits, more often while something happens, and at once when the log is written, where the system
tells of that. With a manual clock there is no polling, since nothing would advance its sleep.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from perdure.clock import Clock, ManualClock

from perdure_sqlite._waiting.file_watch import FileWatch

_AFTER_WRITE = timedelta(milliseconds=1)
_SHORTEST_INTERVAL = timedelta(milliseconds=5)
_WATCHED_INTERVAL = timedelta(milliseconds=20)
"""The log is watched too while the poller looks as rarely as this."""
_USUAL_INTERVAL = timedelta(milliseconds=50)
_LONGEST_INTERVAL = timedelta(milliseconds=100)
_SLOWING, _SLOWING_LATER = 1.2, 1.01
_REST = 3
"""How much longer than `on_commit` the pause after it is at least."""


class Poller:
    """Calls `on_commit` after commits of other processes, while `is_needed` says so."""

    def __init__(
        self,
        clock: Clock,
        *,
        file: str,
        read_version: Callable[[], int | None],
        is_needed: Callable[[], bool],
        on_commit: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._read_version = read_version
        """Returns a number that commits of other processes change, or None if it is not known now."""
        self._is_needed = is_needed
        self._on_commit = on_commit
        self._version: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._sleeps = False
        self._interval = _SHORTEST_INTERVAL
        self._watch = FileWatch(f"{os.path.realpath(file)}-wal", self._look_now)

    def start(self) -> None:
        """Poll from now on, unless that is so already."""
        if self._task is None and not isinstance(self._clock, ManualClock):
            self._task = asyncio.ensure_future(self._poll())

    def expect_more(self) -> None:
        """Something happens, so look often."""
        self._interval = _SHORTEST_INTERVAL

    async def close(self) -> None:
        """Poll no more."""
        self._watch.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _look_now(self) -> None:
        """The log is written: the commit follows within milliseconds, or is one of this process."""
        self._interval = _AFTER_WRITE
        if self._task is not None and self._sleeps:
            self._task.cancel()
            self._task = asyncio.ensure_future(self._poll(looks_first=True))

    async def _poll(self, *, looks_first: bool = False) -> None:
        try:
            while self._is_needed():
                if not looks_first:
                    await self._sleep()
                looks_first = False
                version = self._read_version()
                if version is None or version == self._version:
                    self._slow_down()
                    continue
                self._version = version
                began = time.thread_time()
                await self._on_commit()
                took = timedelta(seconds=time.thread_time() - began)
                self._interval = min(_LONGEST_INTERVAL, max(_SHORTEST_INTERVAL, _REST * took))
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _sleep(self) -> None:
        if self._interval >= _WATCHED_INTERVAL:
            self._watch.arm()
        self._sleeps = True
        try:
            await self._clock.sleep(self._interval)
        finally:
            self._sleeps = False

    def _slow_down(self) -> None:
        """Poll less often: soon every 50 ms, and after a few quiet seconds every 100 ms."""
        slowing = _SLOWING if self._interval < _USUAL_INTERVAL else _SLOWING_LATER
        self._interval = min(_LONGEST_INTERVAL, self._interval * slowing)
