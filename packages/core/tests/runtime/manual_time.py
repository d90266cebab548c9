"""Time for runtimes that stand on no stage: their storage hangs or lies, which keeps a stage's time.

On the in-memory provider everything settles within some rounds of the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta

import perdure

SECOND = timedelta(seconds=1)


async def rounds(count: int = 100) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def pass_time(
    clock: perdure.ManualClock, duration: timedelta, *, step: timedelta = SECOND
) -> None:
    """Let this much time pass, and everything settle after each step."""
    for _ in range(duration // step):
        clock.advance(step)
        await rounds()


async def until(
    clock: perdure.ManualClock, condition: Callable[[], object], *, step: timedelta = SECOND
) -> None:
    """Let time pass until the condition holds, for 1,000 steps at most."""
    for _ in range(1000):
        await rounds()
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        clock.advance(step)
    raise AssertionError("the condition did not come true")


async def soon(condition: Callable[[], object]) -> None:
    """Let the event loop turn until the condition holds, while the clock stands."""
    for _ in range(10_000):
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition did not come true")
