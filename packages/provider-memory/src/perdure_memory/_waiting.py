"""Waking those who wait, over provider objects, event loops and threads.

A watcher registers before it looks, so a change between its look and its wait wakes it.
What it hears is only that something changed: it looks again. Nobody polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from perdure.contract import Clock, Instant

_MICROSECOND = timedelta(microseconds=1)


class Watcher:
    """One wait of one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.woken: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """Wake the task; may be called from any thread."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._finish()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class WatchList:
    """Those who watch one thing."""

    def __init__(self) -> None:
        self._watchers: dict[Watcher, None] = {}

    def wake(self) -> None:
        """Wake all of them."""
        for watcher in tuple(self._watchers):
            watcher.wake()

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Generator[None]:
        """Have the watcher on the list, as long as the block lasts."""
        self._watchers[watcher] = None
        try:
            yield
        finally:
            del self._watchers[watcher]


async def wait_until(
    look: Callable[[], Instant | None],
    *,
    lists: Sequence[WatchList],
    clock: Clock,
    timeout: timedelta,
) -> None:
    """Return once `look` gives an instant that has come, or after the timeout.

    `look` says from when on it is worth looking again, None where only a change can tell.
    It is called at once, after every change, and at the instant that it gave.
    """
    at = look()
    if at is not None and at <= clock.now():
        # Whoever calls in a loop must not keep all other tasks from running.
        await asyncio.sleep(0)
        return
    end = asyncio.ensure_future(clock.sleep(timeout))
    try:
        while not end.done():
            watcher = Watcher()
            with ExitStack() as registered:
                for watch_list in lists:
                    registered.enter_context(watch_list.watched_by(watcher))
                at = look()
                if at is not None and at <= clock.now():
                    return
                await _first_of(watcher.woken, end, clock=clock, at=at)
    finally:
        end.cancel()


async def _first_of(*others: asyncio.Future[None], clock: Clock, at: Instant | None) -> None:
    if at is None:
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        return
    due = asyncio.ensure_future(clock.sleep((at - clock.now()) * _MICROSECOND))
    try:
        await asyncio.wait((*others, due), return_when=asyncio.FIRST_COMPLETED)
    finally:
        due.cancel()
