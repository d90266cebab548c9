"""How the runtime shares the host's event loop: slices for long work, and background tasks.

Work that takes long for its length alone, such as a replay, is cut into steps by a generator. The
steps run in slices, so that the host's loop does its other work in between, the renewal of leases
above all. A generator is at rest between two steps: no orchestration's loop is entered then, and
the generator may be closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

_LOGGER = logging.getLogger("perdure.runtime")

SLICE = 0.004
"""How many seconds a slice lasts before its last step begins."""


class NoLongerWanted(Exception):  # a signal to the caller
    """The rest of the steps is not wanted any more."""


class Slice:
    """How long work may go on before other work gets its turn."""

    __slots__ = ("_end", "_now")

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._end = 0.0
        """Over until it begins."""

    def begin(self) -> None:
        """Begin the next one."""
        self._end = self._now() + SLICE

    def is_over(self) -> bool:
        """Whether it has lasted long enough."""
        return self._now() >= self._end


async def run_in_slices(
    steps: Generator[None, None, T],
    *,
    wanted: Callable[[], bool] = lambda: True,
    of: Slice | None = None,
) -> T:
    """Run all steps, the first slice of them at once; returns what the generator returns.

    A step may ask `of` itself whether its slice is over, if it does not end sooner by itself. When
    this is cancelled, or `wanted` says no between two slices (then it raises `NoLongerWanted`), the
    generator is closed.
    """
    current = Slice() if of is None else of
    current.begin()
    try:
        while True:
            next(steps)
            if current.is_over():
                await asyncio.sleep(0)
                if not wanted():
                    raise NoLongerWanted
                current.begin()
    except StopIteration as done:
        return done.value
    finally:
        steps.close()


class Pacer(Slice):
    """Tells a loop within a coroutine when its slice is over; the first one has begun."""

    __slots__ = ()

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(now)
        self.begin()

    async def pause(self) -> None:
        """Let other work run if the slice is over."""
        if self._now() >= self._end:
            await asyncio.sleep(0)
            self.begin()


class BackgroundTasks:
    """Tasks that nothing awaits: held until they end, and logged if they break."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it in a task of its own."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_broken_task)

    def all(self) -> list[asyncio.Task[None]]:
        """Those that are under way."""
        return list(self._tasks)


def log_broken_task(task: asyncio.Task[Any]) -> None:
    """Log what a background task of the runtime raised, as its done callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOGGER.error("a task of the runtime broke: %s", task.get_name(), exc_info=error)
