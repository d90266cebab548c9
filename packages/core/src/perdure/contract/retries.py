"""Retries a call to the storage that failed with a retryable error.

The provider contract makes every call safe to repeat, so a retry never doubles an effect. Other
errors, and the error of the last try, reach the caller unchanged.
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
"""The tries for a caller that handles the failure: about 150 ms in all."""
PATIENT_TRIES = 6
"""The tries for a runtime, which would have to run the work again: about two seconds in all."""

_FIRST_PAUSE = timedelta(milliseconds=50)
_LONGEST_PAUSE = timedelta(seconds=1)


async def with_retries(clock: Clock, call: Callable[[], Awaitable[R]], *, tries: int = TRIES) -> R:
    """The result of `call`, which is tried up to `tries` times while its error is retryable.

    Waits on `clock` about 50 ms after the first try and twice as long each time, up to a second.
    `call` must pass the same ids each time.
    """
    try:
        return await call()
    except ProviderError as error:
        if tries <= 1 or not error.retryable:
            raise
    return await tried_again(clock, call, tries=tries - 1)


async def tried_again(clock: Clock, call: Callable[[], Awaitable[R]], *, tries: int) -> R:
    """The result of `call`, which has failed before with a retryable error, in as many more tries.

    For a caller that makes the first try itself, because it nearly always succeeds.
    """
    pause = _FIRST_PAUSE
    while True:
        # Jitter, so that callers that failed together do not retry together.
        await clock.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
        pause = min(2 * pause, _LONGEST_PAUSE)
        tries -= 1
        try:
            return await call()
        except ProviderError as error:
            if tries <= 0 or not error.retryable:
                raise
