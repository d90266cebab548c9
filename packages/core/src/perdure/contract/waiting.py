"""Waiting for the first of several coroutines, for all futures, or to an end, and for changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.queries import ChangeWait

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


def has_changed(wait: ChangeWait, state: InstanceState | None) -> bool:
    """Whether an instance with this state, or none, differs from what the caller of a wait saw."""
    if state is None:
        return wait.exists
    if not wait.exists or state.parked != wait.parked:
        return True
    if (
        wait.until_ended
        and state.status is InstanceStatus.RUNNING
        and state.last_commit is not None
    ):
        return False
    return state.last_commit != wait.last_commit


async def all_of(futures: Collection[asyncio.Future[Any]]) -> None:
    """Return when all are done, with any outcome."""
    if futures:
        await asyncio.wait(futures)


async def to_its_end(call: Awaitable[T], *, unheard: Callable[[T], object] | None = None) -> T:
    """The result of a call that must not be broken off.

    If the caller is cancelled, however often, the cancellation reaches it when the call has ended.
    `unheard` gets the result that a cancelled caller does not. It may be a coroutine function: then it
    comes to its end, too, before the cancellation goes on, and its error is raised instead.
    """
    running = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _until_done(running)
        if unheard is not None and not running.cancelled() and running.exception() is None:
            undoing = unheard(running.result())
            if isinstance(undoing, Awaitable):
                ending = asyncio.ensure_future(cast("Awaitable[object]", undoing))
                await _until_done(ending)
                ending.result()
        raise


async def _until_done(running: asyncio.Future[Any]) -> None:
    """Return when it is done, however often the caller is cancelled."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])


def pass_over(done: asyncio.Future[Any]) -> None:
    """Retrieve the error, so that asyncio does not report it as never retrieved."""
    if not done.cancelled():
        done.exception()
