"""Runs orchestration code outside of any host task, and what is long in slices.

An orchestration's tasks are stepped by a loop of their own. From Python 3.14 on, no task can be
stepped while another is mid-step in the same thread, so the engine is called from a plain
callback of the host's loop, never from within a coroutine.

What takes long for its length alone, such as a replay, is cut into steps by a generator. The
steps run in slices, each in a callback of its own, so that whatever else the host's loop has to
do, the renewal of leases above all, comes in between. A generator is at rest between two steps:
no orchestration's loop is entered then, and it may be closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.004
"""For how many seconds a slice goes on before its last step is begun."""


class NoLongerWanted(Exception):  # a signal to the caller
    """The rest of the steps is not wanted any more."""


def run_outside_tasks(work: Callable[[], T]) -> asyncio.Future[T]:
    """Call `work` from a callback of the running loop; the future has its result or error.

    The work runs even if the future is cancelled meanwhile: what it changes is in memory only,
    and its caller drops that.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    loop.call_soon(_run, work, future)
    return future


def run_in_slices(
    steps: Generator[None, None, object],
    *,
    wanted: Callable[[], bool] = lambda: True,
    now: Callable[[], float] = time.perf_counter,
) -> asyncio.Future[None]:
    """Run all steps from callbacks of the running loop; the future is done with the last.

    When the future is cancelled, or `wanted` says no between two slices (then it raises
    `NoLongerWanted`), the generator is closed in the next callback, outside of any task too.
    What the steps make they keep where their caller finds it, for the caller may be cancelled
    when the future is done already.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def run_slice(first: bool) -> None:
        if future.done() or not (first or wanted()):
            _run(steps.close, loop.create_future())
            if not future.done():
                future.set_exception(NoLongerWanted())
            return
        try:
            end = now() + SLICE
            while True:
                next(steps)
                if now() >= end:
                    break
        except StopIteration:
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            loop.call_soon(run_slice, False)

    loop.call_soon(run_slice, True)
    return future


class Pacer:
    """Says to a loop within a coroutine when it has gone on for a slice."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._end = now() + SLICE

    async def pause(self) -> None:
        """Let others run, where the slice is over."""
        if self._now() >= self._end:
            await asyncio.sleep(0)
            self._end = self._now() + SLICE


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
