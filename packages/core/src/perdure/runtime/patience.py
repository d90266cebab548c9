"""Repeats a call to the provider that may succeed later. Every call of the contract is safe to repeat."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from perdure.clock import Clock
from perdure.errors import ProviderError

T = TypeVar("T")

_TRIES = 6
_FIRST_WAIT = 0.01
_LONGEST_WAIT = 1.0


async def retried(clock: Clock, call: Callable[[], Awaitable[T]], *, tries: int = _TRIES) -> T:
    """The answer of the first try that is not refused as retryable; about two seconds in all."""
    wait = _FIRST_WAIT
    for remaining in range(tries - 1, -1, -1):
        try:
            return await call()
        except ProviderError as error:
            if not error.retryable or not remaining:
                raise
        # Jitter keeps those that were refused together from coming back together.
        await clock.sleep(timedelta(seconds=wait * random.uniform(0.5, 1.0)))  # noqa: S311 # no secret
        wait = min(wait * 3, _LONGEST_WAIT)
    raise AssertionError("the last try returns or raises")
