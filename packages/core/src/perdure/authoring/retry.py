"""Retry policies: how often, how long and for which errors an activity is tried again.

Retries are durable: the waits are timers in the history, and the decision is made in the
orchestration, so that a restart neither forgets an attempt nor makes one twice.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final, Protocol, cast

from perdure.errors import ActivityFailed, InvalidInput
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
from perdure.model.record import record
from perdure.model.settings import (
    COUNT,
    POSITIVE,
    SHARE,
    check_fields,
    to_function,
    to_items,
    to_number,
)
from perdure.model.shown import shown

_FACTOR = partial(to_number, least=1, most=1000)


class Backoff(Protocol):
    """How long to wait before the next attempt."""

    def delay(self, attempt: int, random: random.Random) -> timedelta:
        """The wait after the failure of this attempt, counted from 1; `random` replays alike."""
        ...


def _jittered(delay: timedelta, jitter: float, random: random.Random) -> timedelta:
    return delay * (1 - jitter * random.random()) if jitter else delay


@record(kw_only=False, frozen=True)
class Fixed:
    """The same wait every time, shortened by up to the share `jitter`."""

    interval: timedelta = timedelta(seconds=1)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, jitter=SHARE)

    def delay(self, attempt: int, random: random.Random) -> timedelta:
        """`interval`, whatever the attempt."""
        return _jittered(self.interval, self.jitter, random)


@record(kw_only=False, frozen=True)
class Linear:
    """`initial`, then `step` more each time, up to `maximum`."""

    initial: timedelta = timedelta(seconds=1)
    step: timedelta = timedelta(seconds=1)
    maximum: timedelta = timedelta(minutes=5)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, jitter=SHARE)

    def delay(self, attempt: int, random: random.Random) -> timedelta:
        """`initial + (attempt - 1) * step`, at most `maximum`."""
        try:
            wait = min(self.maximum, self.initial + (attempt - 1) * self.step)
        except OverflowError:  # after attempts without end
            wait = self.maximum
        return _jittered(wait, self.jitter, random)


@record(kw_only=False, frozen=True)
class Exponential:
    """`initial`, then `factor` times as long each time, up to `maximum`."""

    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=5)
    jitter: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, jitter=SHARE, factor=_FACTOR)

    def delay(self, attempt: int, random: random.Random) -> timedelta:
        """`initial * factor ** (attempt - 1)`, at most `maximum`."""
        grown = self.initial.total_seconds()
        limit = self.maximum.total_seconds()
        # Multiplied, for powers of floats differ in the last digit from one machine to another.
        for _ in range(attempt - 1 if grown and self.factor > 1 else 0):
            grown *= self.factor
            if grown >= limit:
                break
        return _jittered(timedelta(seconds=min(grown, limit)), self.jitter, random)


@record(frozen=True)
class RetryPolicy:
    """When a failed activity is tried again.

    An error is not retried when it is a `NonRetryable`, when `non_retryable` has its class, or
    when `retry_if` returns false. After a `RetryAfter` the wait is the delay of the error instead
    of that of `backoff`.
    """

    max_attempts: int | None = 3
    """How many attempts there are in all; 1 means no retry, None no limit."""
    backoff: Backoff = Exponential()  # frozen
    """How long to wait between two attempts: `Exponential`, `Linear`, `Fixed`, or your own."""
    attempt_timeout: timedelta | None = None
    """How long one attempt may take; None: no limit.

    A coroutine function that takes longer gets `CancelledError`; the attempt has failed with
    `ActivityTimeout` when the function has ended. A function in a thread is only told; its
    attempt has failed at once.
    """
    total_timeout: timedelta | None = None
    """How long all attempts may take, from the schedule call on, waits included; None: no limit.

    Past it no attempt begins, and the one under way is cancelled at once.
    """
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    """Classes of errors, or their names, that no attempt follows, derived classes included.

    They are compared by name: the process that runs the activity may know a class by another
    module.
    """
    retry_if: Callable[[ActivityFailed], bool] | None = None
    """Says whether an attempt follows this failure; None: one does.

    It runs in the orchestration and must be deterministic. It sees what the activity said:
    `type_name`, `is_a`, `data`, `retry_after`.
    """

    def __post_init__(self) -> None:
        check_fields(self, max_attempts=COUNT, attempt_timeout=POSITIVE, total_timeout=POSITIVE)
        if type(self.backoff) not in _OWN:
            _check_backoff(self.backoff)
        refused = to_items(self.non_retryable, "non_retryable", example="(OSError,)")
        object.__setattr__(self, "non_retryable", tuple(map(_check_error, refused)))
        if self.retry_if is not None:
            to_function(self.retry_if, "retry_if", "failure")

    def retries(self, failure: ActivityFailed, attempt: int) -> bool:
        """Whether another attempt follows the failure of this one, counted from 1."""
        return self.refusal(failure, attempt) is None and self.agrees(failure)

    def agrees(self, failure: ActivityFailed) -> bool:
        """Whether `retry_if`, where there is one, is for another attempt."""
        if self.retry_if is None:
            return True
        answer = cast("object", self.retry_if(failure))
        if inspect.isawaitable(answer):
            raise InvalidInput(
                f"retry_if {shown(self.retry_if)} returned {shown(answer)}, which is to be awaited;"
                " return True or False"
            )
        return bool(answer)

    def refusal(self, failure: ActivityFailed, attempt: int) -> str | None:
        """Why no attempt can follow the failure of this one; None where `retry_if` decides."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return f"max_attempts is {self.max_attempts}"
        if not failure.details.is_retryable():
            return "it is not retryable"
        for refused in self.non_retryable:
            if failure.is_a(refused):
                name = refused if isinstance(refused, str) else refused.__name__
                return f"{name} is among non_retryable"
        return None

    def wait(self, failure: ActivityFailed, attempt: int, random: random.Random) -> timedelta:
        """How long to wait after the failure of this attempt."""
        if failure.retry_after is not None:
            return failure.retry_after
        return to_duration(self.backoff.delay(attempt, random), "delay of the backoff")


_OWN: Final = (Fixed, Linear, Exponential)


def _check_backoff(backoff: object) -> None:
    delay = getattr(backoff, "delay", None)
    if isinstance(backoff, type) or not callable(delay):
        raise InvalidInput(
            f"backoff {shown(backoff)} is no backoff; pass an object such as Fixed(5) or"
            " Exponential()"
        )
    to_function(delay, "delay of the backoff", "attempt", "random")


def _check_error(error: object) -> type[BaseException] | str:
    if isinstance(error, str):
        return check_identifier(error, "non_retryable")
    if isinstance(error, type) and issubclass(error, BaseException):
        return error
    raise InvalidInput(
        f"non_retryable {shown(cast('object', error))} is no class of exceptions; pass a class or its name"
    )
