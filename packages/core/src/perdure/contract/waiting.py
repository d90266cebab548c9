"""Waiting for the first of several things, leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any


async def first_of(*coroutines: Coroutine[object, object, object]) -> None:
    """Return when the first is done, with the others cancelled and gone; raises what they raised.

    Where the caller is cancelled a second time, it doesn't wait for those that are slow to end.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            # What is raised after the caller is gone concerns nobody.
            task.add_done_callback(pass_over)
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def all_of(futures: Collection[asyncio.Future[Any]]) -> None:
    """Return when all are done, whatever became of them."""
    if futures:
        await asyncio.wait(futures)


def pass_over(done: asyncio.Future[Any]) -> None:
    """Take note of an error, so that asyncio doesn't complain of one that nobody looked at."""
    if not done.cancelled():
        done.exception()
