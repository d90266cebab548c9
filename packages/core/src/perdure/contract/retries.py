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
"""For a caller that can be told of the failure: about 150 ms in all."""
PATIENT_TRIES = 6
"""For a runtime, that would have to run the work again: about two seconds in all."""

_FIRST_PAUSE = timedelta(milliseconds=50)
_LONGEST_PAUSE = timedelta(seconds=1)


async def repeated(clock: Clock, call: Callable[[], Awaitable[R]], *, tries: int = TRIES) -> R:
    """The answer of `call`, tried up to `tries` times while its error is retryable.

    Waits about 50 ms after the first try and twice as long each time, up to a second, on the
    clock given. `call` must hand over the same ids each time.
    """
    pause = _FIRST_PAUSE
    for _ in range(tries - 1):
        try:
            return await call()
        except ProviderError as error:
            if not error.retryable:
                raise
        # Jitter, so that callers who failed together do not come back together.
        await clock.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
        pause = min(2 * pause, _LONGEST_PAUSE)
    return await call()
