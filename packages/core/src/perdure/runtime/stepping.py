"""Runs orchestration code outside of any host task.

An orchestration's tasks are stepped by a loop of their own. From Python 3.14 on, no task can be
stepped while another is mid-step in the same thread, so the engine is called from a plain
callback of the host's loop, never from within a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_outside_tasks(work: Callable[[], T]) -> asyncio.Future[T]:
    """Call `work` from a callback of the running loop; the future has its result or error.

    The work runs even if the future is cancelled meanwhile: what it changes is in memory only,
    and its caller drops that.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    loop.call_soon(_run, work, future)
    return future


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
