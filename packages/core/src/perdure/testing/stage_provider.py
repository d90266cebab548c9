"""The storage as one process of a stage sees it: watched, and cut off when the process crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar, cast

from perdure.contract.delegate import DelegatingProvider, ProviderCall
from perdure.contract.provider import Provider
from perdure.contract.waiting import first_of, has_changed
from perdure.errors import ProviderError
from perdure.records.activities import ActivityLease, ActivityRelease
from perdure.records.instances import InstanceState, Message
from perdure.records.queries import CancellationWait, ChangeWait, WorkWait
from perdure.records.turns import TurnCommit, TurnRelease
from perdure.testing.stage_time import StageTime

R = TypeVar("R")

_FIRST_PAUSE = timedelta(milliseconds=20)
_READS = frozenset(
    {"lease_turns", "lease_activities", "read_history", "read_instance", "wait_for_cancellation"}
)


class StageProvider(DelegatingProvider):
    """Passes calls on, and tells the stage's time what is under way and what becomes due.

    Waits don't reach the storage: everything that changes it passes through providers of this class,
    whose notifier wakes what waits.
    """

    def __init__(
        self, inner: Provider, time: StageTime, *, tells_of_cancellations: bool = False
    ) -> None:
        super().__init__(inner)
        self.tells_of_work = self.tells_of_changes = True
        # The first process of a stage commits them itself, and its looks would slow time down.
        self.tells_of_cancellations = tells_of_cancellations
        self._time = time
        self.has_crashed = False
        """Whether its process has crashed."""
        self._is_disposed = False

    def crash(self) -> None:
        """No later call has an effect, and no answer of an earlier one arrives."""
        self.has_crashed = True
        self._time.forget_failures(self)

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        """Make the call, and note what becomes due by it."""
        await self.stop_after_crash()
        try:
            with self._time.call(changes=operation not in _READS):
                answer = await call()
        except ProviderError as error:
            if error.retryable and not self.has_crashed:
                self._time.failed(self, operation)
            raise
        self._time.succeeded(self, operation)
        self.note_answer(call.argument, answer)
        await self.stop_after_crash()
        self._note(call.argument)
        return answer

    def note_answer(self, argument: object, answer: object) -> None:
        """Take note of what the storage has done, also if the process has crashed meanwhile."""

    async def wait_for_work(self, wait: WorkWait) -> None:
        # Nothing tells of what falls due with time, which is most often soon after a change: so look
        # soon, and then after as long again.
        pause = max(_FIRST_PAUSE, self._time.since_change)
        await self._time.clock.sleep(min(wait.timeout, pause))

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        with self.notifier.subscribe_instance(wait.instance) as changes:
            # It may have changed before the subscription, which is then not notified.
            with self._time.call(changes=False):
                state = await self.inner.read_instance(wait.instance)
            if has_changed(wait, state):
                return state
            await first_of(changes.wait(), self._time.clock.sleep(wait.timeout))
            return None

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        await self._time.clock.sleep(wait.timeout)
        return await super().wait_for_cancellation(replace(wait, timeout=timedelta(0)))

    def dispose(self) -> None:
        """End the calls of what is left of the process after its crash."""
        self._is_disposed = True

    async def stop_after_crash(self) -> None:
        """Never return once the process has crashed."""
        if self._is_disposed:
            # Cleanup code would call again and again, and wait each time until it is cancelled.
            raise asyncio.CancelledError
        if self.has_crashed:
            await asyncio.Event().wait()

    def _note(self, argument: object) -> None:
        match argument:
            case TurnCommit(send=send, front=front, add=added):
                for each in (*send, *front, *added):
                    self._time.due_at(each.visible_at)
            case TurnRelease(delay=delay):
                self._time.due_after(delay)
                # A cancellation that came meanwhile ends the delay at once.
                self.notifier.notify_turns()
            case ActivityRelease(delay=delay):
                self._time.due_after(delay)
            case list() | tuple():
                for each in cast("Sequence[object]", argument):
                    if isinstance(each, Message):
                        self._time.due_at(each.visible_at)
            case _:
                pass
