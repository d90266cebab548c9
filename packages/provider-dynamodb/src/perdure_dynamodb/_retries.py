"""Trying again, within bounds: conflicts, throttling and lost answers.

A request is built once and sent verbatim each time; a transaction carries a token that makes a
repeat within ten minutes have no second effect. Conditional writes outside of transactions may
meet their own effect when they are repeated: whoever sends them recognises that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from perdure.errors import StorageFailed, StorageUnavailable

from perdure_dynamodb._seam import (
    Answer,
    Busy,
    Calls,
    Parameters,
    Refused,
    TransactionCancelled,
    Unanswered,
)

ATTEMPTS = 12
LONGEST = 10.0
"""Real seconds after which no further attempt is begun: a lease does not wait for ever."""
TOKEN_LIFE = 540.0
"""Real seconds for which a repeated transaction is surely known for what it is; DynamoDB says ten
minutes. Sent again later, it may meet its own effect and be taken for refused."""
AT_ONCE = 2
"""So many repeats come without a pause: most conflicts are over when they are reported."""
SHORTEST_PAUSE = 0.01
LONGEST_PAUSE = 0.4


Pause: TypeAlias = Callable[[float], Awaitable[object]]
Now: TypeAlias = Callable[[], float]


class RetryingCalls:
    """Repeats what may work later; after a few seconds says that the storage is unavailable.

    The pauses are the network's, as the driver's own are, and no part of what the clock tells.
    """

    def __init__(self, inner: Calls, *, pause: Pause = asyncio.sleep, now: Now = time.time) -> None:
        self._inner = inner
        self._pause = pause
        self._now = now

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """The answer, or `ConditionFailed`, `TransactionCancelled` (by conditions alone), or a
        `ProviderError`."""
        last: Exception = Busy("not tried")
        # By the wall, since a machine that sleeps does not count its sleep otherwise.
        began, attempt = self._now(), 0
        while attempt < ATTEMPTS and self._now() - began < LONGEST:
            attempt += 1
            try:
                return await self._inner.call(operation, parameters)
            except TransactionCancelled as error:
                if error.conditions_failed and self._now() - began < TOKEN_LIFE:
                    raise
                if error.refused:
                    raise _failed(operation, error) from error
                last = error
            except (Busy, Unanswered) as error:
                last = error
            except Refused as error:
                raise _failed(operation, error) from error
            if attempt > AT_ONCE:
                await self._pause(_seconds(attempt - AT_ONCE))
        raise StorageUnavailable(
            f"DynamoDB did not carry out {operation} in {attempt} attempts ({last}); try again,"
            " and look at the table's throttling if it goes on",
            operation=operation,
        ) from last


def _seconds(attempt: int) -> float:
    ceiling = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0**attempt)
    # Half of it is random, so that those who met once don't meet again.
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 # no secret


def _failed(operation: str, error: Exception) -> StorageFailed:
    return StorageFailed(
        f"DynamoDB refuses {operation}: {error}; check the table, the permissions and the limits",
        operation=operation,
    )
