"""What the log says of activities that failed, and of what happens next."""

from __future__ import annotations

import logging

from perdure.authoring.retry import RetryPolicy
from perdure.diagnostics.logs import Fields, activity_logger, tell
from perdure.errors import ActivityFailed
from perdure.model.details import ErrorDetails
from perdure.model.wire import ActivityData
from perdure.records.activities import LeasedActivity
from perdure.runtime.calling import FailedCall

_LOGGER = logging.getLogger("perdure.activity")


def tell_failed(
    leased: LeasedActivity, data: ActivityData, failed: FailedCall, *, wanted: bool
) -> None:
    """An attempt failed: a warning with its trace, or an error where no attempt follows."""
    last, after = False, "it was cancelled before, so its outcome is dropped"
    if wanted:
        last, after = _what_follows(leased.name, data, failed.details)
    tell(
        activity_logger(leased.name),
        logging.ERROR if last else logging.WARNING,
        "activity %r of instance %r failed in attempt %s: %s; %s",
        leased.name,
        leased.instance,
        data.attempt,
        failed.details.display_message(),
        after,
        fields={**activity_fields(leased), "perdure_attempt": data.attempt},
        error=failed.error,
    )


def tell_given_up(leased: LeasedActivity, details: ErrorDetails) -> None:
    """It failed without being run: it ended its process too often, or nobody has it."""
    # Not under its own name: what is not registered here may have any.
    tell(
        _LOGGER,
        logging.ERROR,
        "activity %r of instance %r failed: %s",
        leased.name,
        leased.instance,
        details.display_message(),
        fields=activity_fields(leased),
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


def activity_fields(leased: LeasedActivity) -> Fields:
    """The fields of every line about an activity."""
    return {
        "perdure_instance": leased.instance,
        "perdure_execution": leased.execution,
        "perdure_activity": leased.name,
        "perdure_activity_id": leased.id,
        "perdure_delivery": leased.delivery,
    }
