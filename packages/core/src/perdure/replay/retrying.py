"""The attempts of one activity under its retry policy, as an ordinary coroutine.

It runs on the orchestration's loop, so its waits are durable timers and its decisions replay. The
runtime that runs an attempt enforces the attempt's limit. Histories of the first format have a
durable timer for it, which their replay needs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from perdure.authoring.retry import RetryPolicy
from perdure.diagnostics.failures import timed_out
from perdure.errors import ActivityFailed, ActivityTimeout
from perdure.replay.execution_log import ExecutionLog
from perdure.replay.futures import (
    CancellationPort,
    OrchestrationTask,
    PatientFuture,
    ScheduledFuture,
)
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.unawaited import HandOver, OwnCallback


class Attempts:
    """The attempts of one activity; the first one is under way."""

    def __init__(
        self,
        activity: str,
        first: ScheduledFuture[Any],
        schedule: Callable[[int], ScheduledFuture[Any]],
        policy: RetryPolicy,
        stream: random.Random,
        log: ExecutionLog,
    ) -> None:
        self._activity = activity
        self._first = first
        self._schedule = schedule
        self._policy = policy
        self._stream = stream
        self._log = log
        self._current: ScheduledFuture[Any] | None = first
        """The attempt under way; None while waiting for the next one."""
        self._is_ending = False
        """Whether the activity was asked to end, so that no attempt follows."""
        self._port: CancellationPort | None = None
        self._task: asyncio.Task[Any] | None = None

    def start(self, loop: OrchestrationLoop) -> OrchestrationTask[Any]:
        """A future of the first attempt that succeeds.

        It raises the last attempt's `ActivityFailed` or `ActivityTimeout`. Cancelling it cancels
        the attempt under way, also before the first wait.
        """
        attempts = loop.create_task(self._run(), name=f"retry of {self._activity}")
        attempts.attempts_of = self._activity
        # User code holds the task of the attempts instead.
        self._first.was_awaited = True
        attempts.add_done_callback(_Finish(self._first))
        return attempts

    def start_patiently(
        self, loop: OrchestrationLoop, port: CancellationPort
    ) -> PatientFuture[Any]:
        """Like `start`, but a cancellation waits for the outcome of the attempt under way.

        While waiting for the next attempt, the failure of the last one is the outcome.
        """
        outcome = PatientFuture[Any](loop=loop, port=self, scheduled=self._first.scheduled)
        self._port = port
        self._task = self.start(loop)
        self._task.add_done_callback(HandOver(outcome))
        return outcome

    # The cancellation port of that future

    def request_end(self, scheduled: int) -> bool:
        """Ask the attempt under way to end; returns False if no attempt has begun."""
        current = self._current
        if self._port is None or self._task is None:
            return False
        if current is None:
            # The last attempt may have taken effect, so its failure is the outcome, not a cancellation.
            self._is_ending = True
            self._task.cancel()
            return True
        if current.done():
            return False
        if not self._port.request_end(current.scheduled):
            return False
        self._is_ending = True
        return True

    def work_cancelled(self, scheduled: int) -> None:
        """End the wait, since no attempt is under way."""
        if self._task is not None:
            self._task.cancel()

    # The task

    async def _run(self) -> Any:
        policy, log = self._policy, self._log
        loop = asyncio.get_running_loop()
        deadline = (
            None if policy.total_timeout is None else loop.time() + _seconds(policy.total_timeout)
        )
        future, number = self._first, 1
        while True:
            try:
                return await _one_attempt(self._activity, future, policy.attempt_timeout, deadline)
            except ActivityFailed as error:
                failure = error
            wait, refusal = 0.0, policy.refusal(failure, number)
            # The process of the activity logs what it can know.
            given_up_here = future.cancelled()
            is_told = refusal is not None and not given_up_here
            if refusal is None and self._is_ending:
                refusal = "it was cancelled"
            if refusal is None:
                wait, refusal = _next_wait(policy, failure, number, self._stream, deadline)
            if refusal is not None:
                if not is_told:
                    log.attempt_failed(failure, number, f"no attempt follows: {refusal}", last=True)
                raise failure
            if given_up_here:
                after = f"attempt {number + 1} follows after {wait:g} s"
                log.attempt_failed(failure, number, after, last=False)
            self._current = None
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                if self._is_ending:
                    raise failure from None
                raise
            number += 1
            future = self._current = self._schedule(number)


class _Finish(OwnCallback):
    """Settles the first attempt, which may not have been awaited, when all attempts are over."""

    def __init__(self, first: ScheduledFuture[Any]) -> None:
        self._first = first

    def __call__(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self._first.cancel()
        else:
            # Ignoring scheduled work is allowed.
            done._log_traceback = False


def _next_wait(
    policy: RetryPolicy,
    failure: ActivityFailed,
    number: int,
    stream: random.Random,
    deadline: float | None,
) -> tuple[float, str | None]:
    """The seconds until the next attempt, and the reason if there is none."""
    if not policy.agrees(failure):
        return 0.0, "retry_if refuses"
    wait = _seconds(policy.wait(failure, number, stream))
    if deadline is not None and asyncio.get_running_loop().time() + wait >= deadline:
        return wait, "total_timeout is over before it"
    return wait, None


async def _one_attempt(
    activity: str,
    future: asyncio.Future[Any],
    limit: timedelta | None,
    deadline: float | None,
) -> Any:
    ends = asyncio.get_running_loop().time() + _seconds(limit) if limit is not None else None
    total = deadline is not None and (ends is None or deadline <= ends)
    if total:
        ends = deadline
    if ends is None:
        return await future
    scope = asyncio.timeout_at(ends)
    try:
        async with scope:
            return await future
    except TimeoutError as error:
        if isinstance(error, ActivityFailed) or not scope.expired():
            raise
        which = "total_timeout" if total else "attempt_timeout"
        # Past the total limit there is no next attempt.
        raise ActivityTimeout(activity, timed_out(which, retryable=not total)) from None


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()
