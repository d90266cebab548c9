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
from perdure.retry import RetryPolicy


def start_attempts(
    loop: asyncio.AbstractEventLoop,
    activity: str,
    first: asyncio.Future[Any],
    schedule: Callable[[int], asyncio.Future[Any]],
    policy: RetryPolicy,
    stream: random.Random,
) -> asyncio.Future[Any]:
    """A future of the first attempt that succeeds; `first` is under way, the others follow.

    It raises the last attempt's `ActivityFailed` or `ActivityTimeout`. Cancelling it cancels the
    attempt under way, also before the first wait.
    """
    attempts = loop.create_task(
        _run_attempts(activity, first, schedule, policy, stream), name=f"retry of {activity}"
    )

    def finish(done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            first.cancel()
        else:
            # Ignoring scheduled work is no mistake.
            done._log_traceback = False

    attempts.add_done_callback(finish)
    return attempts


async def _run_attempts(
    activity: str,
    first: asyncio.Future[Any],
    schedule: Callable[[int], asyncio.Future[Any]],
    policy: RetryPolicy,
    stream: random.Random,
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
        if not policy.retries(failure, number):
            raise failure
        wait = _seconds(policy.wait(failure, number, stream))
        if deadline is not None and loop.time() + wait >= deadline:
            raise failure
        await asyncio.sleep(wait)
        number += 1
        future = schedule(number)


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
