"""Repeats a call to the storage that failed for a passing reason, a few times.

The provider contract makes every call safe to repeat, so a repeat never doubles an effect.
What is not retryable, or fails in every try, reaches the caller as it is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from perdure.clock import Clock
from perdure.errors import ProviderError

R = TypeVar("R")

TRIES = 3
_FIRST_PAUSE = timedelta(milliseconds=50)


async def repeated(clock: Clock, call: Callable[[], Awaitable[R]]) -> R:
    """The answer of `call`, tried up to three times while its error is retryable.

    Waits about 50 and 100 ms in between, on the clock given. `call` must hand over the same ids
    each time.
    """
    pause = _FIRST_PAUSE
    for _ in range(TRIES - 1):
        try:
            return await call()
        except ProviderError as error:
            if not error.retryable:
                raise
        # Jitter, so that callers who failed together do not come back together.
        await clock.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
        pause *= 2
    return await call()
