"""What an order has asked for, and what undoes it.

A step is noted when it is asked for, not when it is done: the failure or the cancellation that
makes the order undo everything may come in the middle of a step. So `undo` waits for the outcome
of each step, and then undoes all that were begun, the newest first. A step that failed may have
taken effect all the same, its answer lost; undoing what was never done has to do nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import perdure

T = TypeVar("T")

UNTIL_IT_WORKS = perdure.RetryPolicy(
    max_attempts=None,
    backoff=perdure.Exponential(initial=timedelta(milliseconds=300), jitter=0),
)
"""What was done has to be undone, however long the other side is out of reach."""


class Saga:
    """The steps of one order."""

    def __init__(self, ctx: perdure.OrchestrationContext) -> None:
        self._ctx = ctx
        self._steps: list[tuple[asyncio.Future[Any], Callable[..., object], object]] = []

    def step(
        self,
        activity: Callable[[T], object],
        task: T,
        *,
        undo: Callable[[T], object],
        retry: perdure.RetryPolicy | None = None,
    ) -> asyncio.Future[Any]:
        """Ask for an activity whose outcome is waited for when the order is cancelled."""
        work = self._ctx.schedule_activity(activity, task, retry=retry, cancellation="wait")
        self.note(work, task, undo=undo)
        return work

    def note(self, work: asyncio.Future[Any], task: T, *, undo: Callable[[T], object]) -> None:
        """Note something else that was asked for, such as a child."""
        self._steps.append((work, undo, task))

    async def undo(self) -> None:
        """Undo everything that was begun, the newest first."""
        while self._steps:
            work, undo, task = self._steps.pop()
            if await _was_begun(work):
                await self._ctx.schedule_activity(undo, task, retry=UNTIL_IT_WORKS)


async def _was_begun(work: asyncio.Future[Any]) -> bool:
    """Wait for the outcome; what was cancelled before it began has none."""
    try:
        await work
    except asyncio.CancelledError:
        return False
    except (perdure.ActivityFailed, perdure.SubOrchestrationFailed):
        return True
    return True
