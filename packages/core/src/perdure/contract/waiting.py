"""Waiting for the first of several coroutines, or for all futures, without leaving tasks behind."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any


async def first_of(*coroutines: Coroutine[object, object, object]) -> None:
    """Return when the first is done and the others are cancelled and have ended; raises their errors.

    A second cancellation of the caller ends the wait for coroutines that are slow to end.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            # An error after the caller has gone must not be reported as never retrieved.
            task.add_done_callback(pass_over)
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def all_of(futures: Collection[asyncio.Future[Any]]) -> None:
    """Return when all are done, with any outcome."""
    if futures:
        await asyncio.wait(futures)


def pass_over(done: asyncio.Future[Any]) -> None:
    """Retrieve the error, so that asyncio does not report it as never retrieved."""
    if not done.cancelled():
        done.exception()
