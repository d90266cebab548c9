"""Retry policies: their arithmetic, their checks, and their attempts in an orchestration."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from perdure import (
    ActivityFailed,
    ActivityTimeout,
    ApplicationError,
    Exponential,
    Fixed,
    Linear,
    NonRetryable,
    RetryAfter,
    RetryPolicy,
)
from perdure.diagnostics.failures import describe
from perdure.errors import InvalidDuration, InvalidInput, InvalidPayload, PayloadTooLarge
from perdure.model.details import ApplicationFailure, Cancelled, Poisoned, Raised


def seconds(policy: Fixed | Linear | Exponential, attempts: int) -> list[float]:
    stream = random.Random(1)
    return [policy.delay(n, stream).total_seconds() for n in range(1, attempts + 1)]


def failure(type_name: str = "ValueError", *, retryable: bool = True) -> ActivityFailed:
    kind = Raised(type_name=type_name, message="m", retryable=retryable)
    return ActivityFailed("work", ApplicationFailure(kind))


def test_a_fixed_backoff_waits_alike() -> None:
    assert seconds(Fixed(timedelta(seconds=2)), 3) == [2, 2, 2]


def test_a_linear_backoff_grows_by_its_step_up_to_its_maximum() -> None:
    policy = Linear(timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4))

    assert seconds(policy, 4) == [1, 3, 4, 4]


def test_an_exponential_backoff_grows_by_its_factor_up_to_its_maximum() -> None:
    policy = Exponential(timedelta(seconds=1), 3, timedelta(seconds=10), jitter=0)

    assert seconds(policy, 4) == [1, 3, 9, 10]
    assert policy.delay(10**6, random.Random()) == timedelta(seconds=10)


def test_an_exponential_backoff_that_never_grows_ends_at_once() -> None:
    policy = Exponential(timedelta(0), 1, jitter=0)

    assert policy.delay(10**9, random.Random()) == timedelta(0)


@pytest.mark.parametrize("policy", [Fixed(jitter=0.5), Linear(jitter=0.5), Exponential(jitter=0.5)])
def test_jitter_shortens_by_up_to_its_share(policy: Fixed | Linear | Exponential) -> None:
    stream = random.Random(3)
    waits = [policy.delay(1, stream).total_seconds() for _ in range(200)]

    assert 0.5 <= min(waits) < 0.6
    assert 0.9 < max(waits) <= 1


def test_attempts_are_limited() -> None:
    policy = RetryPolicy(max_attempts=2)

    assert policy.retries(failure(), 1)
    assert not policy.retries(failure(), 2)


@pytest.mark.parametrize("refused", [ValueError, "ValueError"])
def test_a_type_or_its_name_is_not_retried(refused: type[BaseException] | str) -> None:
    policy = RetryPolicy(non_retryable=(refused,))

    assert not policy.retries(failure("ValueError"), 1)
    assert policy.retries(failure("MyValueError"), 1)


def test_a_class_stands_for_all_that_are_derived_from_it() -> None:
    missing = ActivityFailed("work", ApplicationFailure(describe(FileNotFoundError("gone"))))

    for refused in (OSError, "OSError", "builtins.OSError", FileNotFoundError):
        assert not RetryPolicy(non_retryable=(refused,)).retries(missing, 1)
    assert RetryPolicy(non_retryable=(PermissionError, LookupError)).retries(missing, 1)


def test_a_predicate_sees_what_was_raised_and_said() -> None:
    seen: list[object] = []

    def only_busy(error: ActivityFailed) -> bool:
        seen.append((error.is_a(ApplicationError), error.retry_after))
        return error.data["status"] == 429

    policy = RetryPolicy(retry_if=only_busy)
    for status, again in ((429, True), (400, False)):
        raised = RetryAfter(2, details={"status": status})
        failed = ActivityFailed("work", ApplicationFailure(describe(raised)))
        assert policy.retries(failed, 1) is again
    assert seen == [(True, timedelta(seconds=2))] * 2


def test_attempts_may_go_on_for_ever() -> None:
    policy = RetryPolicy(max_attempts=None)

    assert policy.retries(failure(), 10**9)
    assert not policy.retries(failure(retryable=False), 1)


def test_an_error_may_say_how_long_to_wait() -> None:
    policy = RetryPolicy(backoff=Fixed(timedelta(seconds=1)))
    busy = ActivityFailed("work", ApplicationFailure(describe(RetryAfter(90))))

    assert policy.wait(busy, 1, random.Random()) == timedelta(seconds=90)
    assert policy.wait(failure(), 1, random.Random()) == timedelta(seconds=1)


def test_a_backoff_that_grows_for_ever_stays_at_its_maximum() -> None:
    policy = Linear(step=timedelta(days=36_000), maximum=timedelta(days=2))

    assert policy.delay(10**9, random.Random()) == timedelta(days=2)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RetryAfter(-1), InvalidDuration),
        (lambda: RetryAfter(float("nan")), InvalidDuration),
        (lambda: RetryAfter("soon"), InvalidDuration),
        (lambda: ApplicationError("m", details={object()}), InvalidPayload),
        (lambda: NonRetryable("m", details=object()), InvalidPayload),
        (lambda: NonRetryable("m", details=float("inf")), InvalidPayload),
        (lambda: NonRetryable("m", details="x" * 70_000), PayloadTooLarge),
    ],
)
def test_an_error_that_cannot_be_told_is_refused_where_it_is_made(
    make: Callable[[], Exception], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"delay|details of"):
        make()


def test_what_cannot_succeed_is_not_retried() -> None:
    policy = RetryPolicy()

    assert not policy.retries(failure(retryable=False), 1)
    for kind in (Poisoned(work="w", attempts=3), Cancelled(reason="r")):
        assert not policy.retries(ActivityFailed("work", ApplicationFailure(kind)), 1)


def test_a_predicate_decides_last() -> None:
    policy = RetryPolicy(retry_if=lambda error: error.message == "m", non_retryable=("KeyError",))

    assert policy.retries(failure(), 1)
    assert not policy.retries(failure("KeyError"), 1)
    assert not RetryPolicy(retry_if=lambda _: False).retries(failure(), 1)


def test_a_timeout_is_a_failure_and_a_timeout_error() -> None:
    error = ActivityTimeout("work", ApplicationFailure(Raised(type_name="T", message="")))

    assert isinstance(error, TimeoutError)
    assert isinstance(error, ActivityFailed)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RetryPolicy(max_attempts=0), "max_attempts 0"),
        (lambda: Fixed(jitter=1.5), "jitter 1.5"),
        (lambda: Exponential(factor=0.5), "factor 0.5"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidInput, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(attempt_timeout=timedelta(seconds=-1)),
        lambda: RetryPolicy(total_timeout=timedelta(days=10**6)),
        lambda: Fixed(timedelta(seconds=-1)),
        lambda: Linear(step=timedelta(seconds=-1)),
    ],
)
def test_durations_that_make_no_sense_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidDuration):
        make()
