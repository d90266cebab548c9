"""How a runtime ends: in bounded time, however it is left and whatever hangs.

1. The runtime leases nothing new. Turns commit and activities go on, for the grace period.
2. It cancels what is left, which gives its lease back.
3. What is left then hangs, in the storage or in code that ignores its cancellation: the runtime
   cancels it once more. A task that does not end even so is named in the log and left alone.

Each stage ends as soon as nothing is left. Cancelling the task that leaves the runtime ends the
grace period, a second time the giving back; the runtime itself always ends in order. Renewal goes
on until the end, so that no lease is lost while its work is still wanted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from perdure.clock import Clock
from perdure.contract.waiting import all_of
from perdure.runtime.activity_worker import ActivityWorker
from perdure.runtime.turn_dispatcher import TurnDispatcher

_LOGGER = logging.getLogger("perdure.runtime")

GIVING_BACK = timedelta(milliseconds=700)
"""How long after the grace period the leases may take to be given back."""
LAST_MOMENT = timedelta(milliseconds=200)
"""How long a task may take to end after it was cancelled for the last time."""

_Tasks = Sequence[asyncio.Task[None]]


class Shutdown:
    """See the module; `run` does all of it, `hurry` shortens it."""

    def __init__(
        self, clock: Clock, grace: timedelta, turns: TurnDispatcher, activities: ActivityWorker
    ) -> None:
        self._clock = clock
        self._grace = grace
        self._turns = turns
        self._activities = activities
        self._hurries = 0
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Go on to the next stage: first without the rest of the grace period."""
        self._hurries += 1
        self._hurried.set()

    async def run(self, leasing: _Tasks, caring: _Tasks) -> None:
        """End everything; `leasing` and `caring` are the loops of the runtime."""
        self._turns.stop()
        self._activities.stop()
        _cancel(leasing)
        await self._wait(lambda: [*leasing, *self._work()], self._grace, patience=0)
        self._turns.cancel_running()
        self._activities.cancellation.cancel_running()
        await self._wait(lambda: [*leasing, *self._work()], GIVING_BACK, patience=1)
        _cancel([*leasing, *caring, *self._work()])
        await self._wait(lambda: [*leasing, *caring, *self._work()], LAST_MOMENT, patience=2)
        self._activities.close()
        for task in _pending([*leasing, *caring, *self._work()]):
            _LOGGER.error(
                "%s ignores its cancellation; the runtime is left without it", _name(task)
            )

    def _work(self) -> list[asyncio.Task[None]]:
        return [*self._turns.tasks(), *self._activities.tasks()]

    async def _wait(self, tasks: Callable[[], _Tasks], limit: timedelta, *, patience: int) -> None:
        """Return when all tasks are done, the limit is over, or it was hurried on."""
        end = asyncio.ensure_future(self._clock.sleep(limit))
        try:
            # Tasks that were begun just now make their first step before they can be cancelled.
            await self._next_round()
            while not end.done() and self._hurries <= patience and (left := _pending(tasks())):
                await self._any_of(asyncio.ensure_future(all_of(left)), end)
        finally:
            end.cancel()

    async def _next_round(self) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._hurries += 1

    async def _any_of(self, work: asyncio.Future[None], end: asyncio.Future[None]) -> None:
        self._hurried.clear()
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait((work, end, hurried), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The event loop is being ended: all tasks are cancelled, this one too.
            self._hurries += 1
        finally:
            work.cancel()
            hurried.cancel()


def _pending(tasks: _Tasks) -> list[asyncio.Task[None]]:
    return [task for task in tasks if not task.done()]


def _cancel(tasks: _Tasks) -> None:
    for task in tasks:
        task.cancel()


def _name(task: asyncio.Task[None]) -> str:
    return task.get_name()
