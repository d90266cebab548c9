"""The attempts of one activity under its retry policy, as an ordinary coroutine.

It runs on the orchestration's loop: its waits are durable timers, its decisions replay. The limit
of an attempt is kept by the runtime that runs it; in histories of the first format it is a durable
timer too, and in their replay it must be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from perdure.errors import ActivityFailed, ActivityTimeout
from perdure.raised import timed_out
from perdure.replay.execution_log import ExecutionLog
from perdure.replay.futures import ScheduledFuture
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.unawaited import OwnCallback
from perdure.retry import RetryPolicy


def start_attempts(
    loop: OrchestrationLoop,
    activity: str,
    first: ScheduledFuture[Any],
    schedule: Callable[[int], asyncio.Future[Any]],
    policy: RetryPolicy,
    stream: random.Random,
    log: ExecutionLog,
) -> asyncio.Future[Any]:
    """A future of the first attempt that succeeds; `first` is under way, the others follow.

    It raises the last attempt's `ActivityFailed` or `ActivityTimeout`. Cancelling it cancels the
    attempt under way, also before the first wait.
    """
    attempts = loop.create_task(
        _run_attempts(activity, first, schedule, policy, stream, log), name=f"retry of {activity}"
    )
    attempts.attempts_of = activity
    # The user holds the attempts instead.
    first.heeded = True
    attempts.add_done_callback(_Finish(first))
    return attempts


class _Finish(OwnCallback):
    """What the end of all attempts means for the first one, which may not be awaited yet."""

    def __init__(self, first: ScheduledFuture[Any]) -> None:
        self._first = first

    def __call__(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self._first.cancel()
        else:
            # Ignoring scheduled work is no mistake.
            done._log_traceback = False


async def _run_attempts(
    activity: str,
    first: asyncio.Future[Any],
    schedule: Callable[[int], asyncio.Future[Any]],
    policy: RetryPolicy,
    stream: random.Random,
    log: ExecutionLog,
) -> Any:
    loop = asyncio.get_running_loop()
    deadline = (
        None if policy.total_timeout is None else loop.time() + _seconds(policy.total_timeout)
    )
    future, number = first, 1
    while True:
        try:
            return await _one_attempt(activity, future, policy.attempt_timeout, deadline)
        except ActivityFailed as error:
            failure = error
        wait, refusal = 0.0, policy.refusal(failure, number)
        # What can be known where the activity ran is told there.
        given_up_here = future.cancelled()
        is_told = refusal is not None and not given_up_here
        if refusal is None:
            wait, refusal = _next_wait(policy, failure, number, stream, deadline)
        if refusal is not None:
            if not is_told:
                log.attempt_failed(failure, number, f"no attempt follows: {refusal}", last=True)
            raise failure
        if given_up_here:
            after = f"attempt {number + 1} follows after {wait:g} s"
            log.attempt_failed(failure, number, after, last=False)
        await asyncio.sleep(wait)
        number += 1
        future = schedule(number)


def _next_wait(
    policy: RetryPolicy,
    failure: ActivityFailed,
    number: int,
    stream: random.Random,
    deadline: float | None,
) -> tuple[float, str | None]:
    """The seconds until the next attempt, and why there is none, where there is none."""
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
