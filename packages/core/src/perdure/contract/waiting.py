"""Waiting for the first of several coroutines, for all futures, or to an end, without leaving tasks behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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


async def to_its_end(call: Awaitable[T], *, unheard: Callable[[T], object] | None = None) -> T:
    """The result of a call that must not be broken off.

    If the caller is cancelled, however often, the cancellation reaches it when the call has ended.
    `unheard` gets the result that a cancelled caller does not.
    """
    running = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if unheard is not None and running.exception() is None:
            unheard(running.result())
        raise


def pass_over(done: asyncio.Future[Any]) -> None:
    """Retrieve the error, so that asyncio does not report it as never retrieved."""
    if not done.cancelled():
        done.exception()
