"""What is reported of activities: log lines about failures, and the events of observers."""

from __future__ import annotations

import logging
from datetime import timedelta

from perdure.authoring.retry import RetryPolicy
from perdure.clock import Instant
from perdure.diagnostics.logs import Fields, activity_logger, log_line
from perdure.errors import ActivityFailed
from perdure.model.details import ErrorDetails
from perdure.model.wire import ActivityData
from perdure.observe import ActivityEnded, ActivityStarted
from perdure.runtime.activity_call import FailedCall
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.activity")


def log_failed(held: HeldActivity, data: ActivityData, failed: FailedCall, *, wanted: bool) -> None:
    """An attempt failed: a warning with its trace, or an error where no attempt follows."""
    last, after = False, "it was cancelled before, so its outcome is dropped"
    if wanted:
        last, after = _what_follows(held.name, data, failed.details)
    log_line(
        activity_logger(held.name),
        logging.ERROR if last else logging.WARNING,
        "activity %r of instance %r failed in attempt %s: %s; %s",
        held.name,
        held.instance,
        data.attempt,
        failed.details.display_message(),
        after,
        fields={**activity_fields(held), "perdure_attempt": data.attempt},
        error=failed.error,
    )


def log_given_up(held: HeldActivity, details: ErrorDetails) -> None:
    """It failed without being run: it ended its process too often, or no runtime has it."""
    # Not under its own name: what is not registered here may have any.
    log_line(
        _LOGGER,
        logging.ERROR,
        "activity %r of instance %r failed: %s",
        held.name,
        held.instance,
        details.display_message(),
        fields=activity_fields(held),
    )


def _what_follows(name: str, data: ActivityData, details: ErrorDetails) -> tuple[bool, str]:
    """Whether it was the last attempt as far as this process can know, and what follows."""
    policy = RetryPolicy(max_attempts=data.max_attempts, non_retryable=data.non_retryable)
    failure = ActivityFailed(name, details)
    refusal = policy.refusal(failure, data.attempt)
    if refusal is not None:
        return True, f"no attempt follows: {refusal}"
    of = "" if data.max_attempts is None else f" of {data.max_attempts}"
    delay = failure.retry_after
    after = "" if delay is None else f" after {delay.total_seconds():g} s"
    condition = " unless its retry policy refuses" if data.conditional else ""
    return False, f"attempt {data.attempt + 1}{of} follows{after}{condition}"


def activity_fields(held: HeldActivity) -> Fields:
    """The fields of every line about an activity."""
    return {
        "perdure_instance": held.instance,
        "perdure_execution": held.execution,
        "perdure_activity": held.name,
        "perdure_activity_id": held.id,
        "perdure_delivery": held.delivery,
    }


def observe_start(
    observers: Observers, held: HeldActivity, data: ActivityData, at: Instant
) -> None:
    """Notify the observers that the function of an activity is about to be called."""
    if observers.any:
        observers.notify(
            ActivityStarted(
                at=at,
                instance=held.instance,
                activity=held.id,
                name=held.name,
                attempt=data.attempt,
                delivery=held.delivery,
                incarnation=held.incarnation,
                execution=held.execution,
                waited=timedelta(microseconds=max(0, at - held.added_at)),
            )
        )


def observe_end(
    observers: Observers,
    held: HeldActivity,
    outcome: str,
    at: Instant,
    failure: ErrorDetails | None = None,
) -> None:
    """Notify the observers that it has `completed`, `failed`, or was `cancelled`."""
    if observers.any:
        observers.notify(
            ActivityEnded(
                at=at,
                instance=held.instance,
                activity=held.id,
                name=held.name,
                outcome=outcome,
                attempt=0 if held.context is None else held.context.attempt,
                delivery=held.delivery,
                incarnation=held.incarnation,
                execution=held.execution,
                duration=timedelta(microseconds=max(0, at - (held.called_at or at))),
                failure=failure,
            )
        )
