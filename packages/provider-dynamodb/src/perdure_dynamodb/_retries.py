"""Trying again, within bounds: conflicts, throttling, lost answers and half-done batches.

A request is built once and sent verbatim each time; a transaction carries a token that makes a
repeat within ten minutes have no second effect. Conditional writes outside of transactions may
meet their own effect when they are repeated: the caller recognises that.

The pauses grow from the first repeat on, and all repeats of a process share one budget: a table
that is throttled is not asked more often because more calls wait for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, cast

from perdure.errors import StorageFailed, StorageUnavailable

from perdure_dynamodb._transport import (
    Answer,
    Busy,
    Calls,
    Parameters,
    Refused,
    TransactionCancelled,
    Unanswered,
)
from perdure_dynamodb._usage import LEFT, THROTTLED, UNANSWERED, Usage

ATTEMPTS = 12
LONGEST = 10.0
"""Real seconds after which no further attempt is begun: a lease does not wait for ever."""
TOKEN_LIFE = 540.0
"""Real seconds for which a repeated transaction is surely known for what it is; DynamoDB says ten
minutes. Sent again later, it may meet its own effect and be taken for refused."""
SHORTEST_PAUSE = 0.02
LONGEST_PAUSE = 2.0

MOST_REPEATS_AT_ONCE = 500
"""So many repeats a process may make without a pause for the budget: a burst of calls that fail at
the same moment, for want of a connection, is no throttled table."""
REPEATS_A_SECOND = 50.0
"""So many the budget gains in a second, whatever happens."""
REPEATS_FOR_AN_ANSWER = 0.2
"""So many it gains with each answer."""

_ATTEMPTS_WITH_PROGRESS = 4
"""The pauses between the parts of a batch don't grow beyond that of this attempt."""

_LEFT = {"BatchGetItem": "UnprocessedKeys", "BatchWriteItem": "UnprocessedItems"}
"""Where the answer of a batch tells what was not done."""

Pause: TypeAlias = Callable[[float], Awaitable[object]]
Now: TypeAlias = Callable[[], float]


class Budget:
    """A token bucket of repeats."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._level = float(MOST_REPEATS_AT_ONCE)
        self._at = now()

    def note_answer(self) -> None:
        """A request was answered: one of several may be repeated."""
        self._gain(REPEATS_FOR_AN_ANSWER)

    def seconds_until(self) -> float:
        """How long a repeat has to wait."""
        # The wall clock may step back.
        self._gain(max(0.0, self._now() - self._at) * REPEATS_A_SECOND)
        self._at = self._now()
        return max(0.0, (1.0 - self._level) / REPEATS_A_SECOND)

    def take(self) -> None:
        """Use a repeat, now or after the wait: those who come later wait behind it."""
        self._level -= 1.0

    def _gain(self, repeats: float) -> None:
        self._level = min(float(MOST_REPEATS_AT_ONCE), self._level + repeats)


class _Patience:
    """How long one request is repeated, and the pauses between."""

    def __init__(self, budget: Budget, *, pause: Pause, now: Now) -> None:
        self.attempts = 0
        self._budget = budget
        self._pause = pause
        self._now = now
        # By the wall, since a machine that sleeps does not count its sleep otherwise.
        self._began = now()

    def note_progress(self) -> None:
        """Something was done, so more will be: the time counts from now, the pauses stay short."""
        self._began = self._now()
        self.attempts = min(self.attempts, _ATTEMPTS_WITH_PROGRESS)

    @property
    def elapsed(self) -> float:
        """Real seconds since the first attempt."""
        return self._now() - self._began

    async def allows(self) -> bool:
        """Whether another attempt is worth while, after the pause that it needs."""
        if self.attempts:
            left = LONGEST - self.elapsed
            seconds = max(_seconds(self.attempts), self._budget.seconds_until())
            if self.attempts >= ATTEMPTS or left <= 0:
                return False
            if seconds >= left:
                # The caller tries again, and must not do so at once.
                await self._pause(left)
                return False
            self._budget.take()
            await self._pause(seconds)
        self.attempts += 1
        return True


class RetryingCalls:
    """Repeats what may work later; after a few seconds says that the storage is unavailable.

    The pauses are the network's, as the driver's own are, and no part of what the clock tells.
    """

    def __init__(
        self,
        inner: Calls,
        *,
        pause: Pause = asyncio.sleep,
        now: Now = time.time,
        usage: Usage | None = None,
    ) -> None:
        self.usage = Usage() if usage is None else usage
        self._inner = inner
        self._pause = pause
        self._now = now
        self._budget = Budget(now)

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """The answer, or `ConditionFailed`, `TransactionCancelled` (by conditions alone), or a
        `ProviderError`. The answer of a batch has all of it."""
        if operation not in _LEFT:
            return await self._answer(operation, parameters, self._patience())
        return await self._whole_batch(operation, parameters)

    async def _whole_batch(self, operation: str, parameters: Parameters) -> Answer:
        found: dict[str, list[object]] = {}
        patience = self._patience()
        while True:
            answer = await self._answer(operation, parameters, patience)
            responses = cast("Mapping[str, Sequence[object]]", answer.get("Responses") or {})
            for table, items in responses.items():
                found.setdefault(table, []).extend(items)
            left = answer.get(_LEFT[operation])
            if not left:
                return {**answer, "Responses": found}
            before, parameters = parameters, {**parameters, "RequestItems": left}
            if _size(parameters) < _size(before):
                patience.note_progress()

    async def _answer(self, operation: str, parameters: Parameters, patience: _Patience) -> Answer:
        last: Exception | None = None
        while await patience.allows():
            if patience.attempts > 1:
                self.usage.count_repeat(_reason(last))
            self.usage.count_request(operation)
            try:
                answer = await self._inner.call(operation, parameters)
            except TransactionCancelled as error:
                if error.conditions_failed and patience.elapsed < TOKEN_LIFE:
                    raise
                if error.refused:
                    raise _failed(operation, error) from error
                last = error
            except (Busy, Unanswered) as error:
                last = error
            except Refused as error:
                raise _failed(operation, error) from error
            else:
                self._budget.note_answer()
                return answer
        raise StorageUnavailable(
            f"DynamoDB did not carry out {operation} in {patience.attempts} attempts"
            f" ({last or 'a part of it was left undone'}); try"
            " again, and look at the table's throttling if it goes on",
            operation=operation,
        ) from last

    def _patience(self) -> _Patience:
        return _Patience(self._budget, pause=self._pause, now=self._now)


def _reason(error: Exception | None) -> str:
    """Why a request is repeated."""
    if error is None:
        return LEFT
    return UNANSWERED if isinstance(error, Unanswered) else THROTTLED


def _size(parameters: Parameters) -> int:
    """How many keys or writes a batch has."""
    total = 0
    for asked in cast("Mapping[str, object]", parameters["RequestItems"]).values():
        if isinstance(asked, Mapping):
            asked = cast("Mapping[str, object]", asked)["Keys"]
        total += len(cast("Sequence[object]", asked))
    return total


def _seconds(attempt: int) -> float:
    ceiling = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** (attempt - 1))
    # Half of it is random, so that those who met once don't meet again.
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 # no secret


def _failed(operation: str, error: Exception) -> StorageFailed:
    return StorageFailed(
        f"DynamoDB refuses {operation}: {error}; check the table, the permissions and the limits",
        operation=operation,
    )
