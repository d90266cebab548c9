"""How the runtime uses the host's event loop: callbacks for the engine, slices for long work.

An orchestration's tasks are stepped by a loop of their own. From Python 3.14 on, no task can be
stepped while another is mid-step in the same thread, so the runtime calls the engine from a plain
callback of the host's loop, never from within a coroutine.

Work that takes long for its length alone, such as a replay, is cut into steps by a generator. The
steps run in slices, each in a callback of its own, so that the host's loop does its other work in
between, the renewal of leases above all. A generator is at rest between two steps: no
orchestration's loop is entered then, and the generator may be closed.
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


def run_outside_tasks(work: Callable[[], T]) -> asyncio.Future[T]:
    """Call `work` from a callback of the running loop; the future has its result or error.

    The work runs even if the future is cancelled meanwhile: it changes only memory that its caller
    drops then.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    loop.call_soon(_run, work, future)
    return future


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


def run_in_slices(
    steps: Generator[None, None, object],
    *,
    wanted: Callable[[], bool] = lambda: True,
    of: Slice | None = None,
) -> asyncio.Future[None]:
    """Run all steps from callbacks of the running loop; the future is done with the last.

    A step may ask `of` itself whether its slice is over, if it does not end sooner by itself.

    When the future is cancelled, or `wanted` says no between two slices (then it raises
    `NoLongerWanted`), the generator is closed in the next callback, outside of any task too.
    The steps keep what they make where their caller finds it, because the caller may be cancelled
    when the future is done already.
    """
    slices = _Slices(steps, wanted, Slice() if of is None else of)
    slices.loop.call_soon(slices.run, True)
    return slices.future


class _Slices:
    """The steps that are left. Not a closure, which would hold itself until it is collected."""

    __slots__ = ("_slice", "_steps", "_wanted", "future", "loop")

    def __init__(
        self,
        steps: Generator[None, None, object],
        wanted: Callable[[], bool],
        slice: Slice,
    ) -> None:
        self._steps = steps
        self._wanted = wanted
        self._slice = slice
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def run(self, first: bool) -> None:
        """Run a slice, and see to the next."""
        future, steps, is_over = self.future, self._steps, self._slice.is_over
        if future.done() or not (first or self._wanted()):
            _run(steps.close, self.loop.create_future())
            if not future.done():
                future.set_exception(NoLongerWanted())
            return
        try:
            self._slice.begin()
            while True:
                next(steps)
                if is_over():
                    break
        except StopIteration:
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.loop.call_soon(self.run, False)


class Pacer:
    """Tells a loop within a coroutine when its slice is over."""

    def __init__(self, of: Slice | None = None) -> None:
        self._slice = Slice() if of is None else of
        self._slice.begin()

    async def pause(self) -> None:
        """Let other work run if the slice is over."""
        if self._slice.is_over():
            await asyncio.sleep(0)
            self._slice.begin()


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


def _run(work: Callable[[], T], future: asyncio.Future[T]) -> None:
    try:
        result = work()
    except BaseException as error:
        if not future.done():
            future.set_exception(error)
        if not isinstance(error, Exception):
            raise
    else:
        if not future.done():
            future.set_result(result)
