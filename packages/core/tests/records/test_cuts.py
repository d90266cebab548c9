"""Cuts: a history is kept up to an incoming event or the end of an answer, and nowhere else."""

from __future__ import annotations

import pytest
from perdure.history import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CancelRequested,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
    TimerCreated,
)
from perdure.model.details import ApplicationFailure, Cancelled, ErrorDetails, Poisoned, Raised
from perdure.records.cuts import cut_before_failure, cuts, nearest_cuts

RAISED = ApplicationFailure(Raised(type_name="ValueError", message="no", trace=(), causes=()))


def started() -> OrchestrationStarted:
    return OrchestrationStarted(
        event_id=1,
        at=0,
        instance="a",
        incarnation="b",
        execution=1,
        name="flow",
        version="1.0.0",
        input="null",
        python="3.13",
        engine=1,
    )


def scheduled(number: int) -> ActivityScheduled:
    return ActivityScheduled(event_id=number, at=0, name="pay", input="1")


def failed(number: int, details: ErrorDetails = RAISED) -> OrchestrationFailed:
    return OrchestrationFailed(event_id=number, at=0, details=details)


def a_failed_history() -> list[Event]:
    return [
        started(),
        scheduled(2),
        scheduled(3),
        ActivityCompleted(event_id=4, at=0, scheduled=2, result="1"),
        ActivityFailed(event_id=5, at=0, scheduled=3, details=RAISED),
        failed(6),
    ]


def test_a_history_is_cut_at_incoming_events_and_at_the_end_of_an_answer() -> None:
    events = a_failed_history()

    assert cuts(events) == [1, 3, 4, 5]
    assert nearest_cuts(events, 2) == (1, 3)
    assert nearest_cuts(events, 6) == (5,)
    assert cuts(events[:2]) == [1, 2]


def test_a_retry_drops_the_event_that_led_to_the_failure() -> None:
    assert cut_before_failure(a_failed_history()) == 4


def test_a_retry_of_what_failed_at_its_start_keeps_the_start() -> None:
    assert cut_before_failure([started(), failed(2)]) == 1


def test_a_retry_of_what_the_runtime_ended_drops_the_end_alone() -> None:
    poisoned = ApplicationFailure(Poisoned(work="turn", attempts=5))

    assert cut_before_failure([*a_failed_history()[:-1], failed(6, poisoned)]) == 5
    assert cut_before_failure([failed(1, poisoned)]) == 1


def test_a_retry_of_what_was_cancelled_drops_the_cancellation_and_its_cleanup() -> None:
    cancelled = ApplicationFailure(Cancelled(reason="no"))
    events: list[Event] = [
        started(),
        scheduled(2),
        CancelRequested(event_id=3, at=0, reason="no"),
        TimerCreated(event_id=4, at=0, fire_at=1, purpose="cleanup"),
        scheduled(5),
        ActivityCompleted(event_id=6, at=0, scheduled=5, result="1"),
        failed(7, cancelled),
    ]

    assert cut_before_failure(events) == 2


def test_a_retry_of_what_was_cancelled_without_its_code_drops_the_end_alone() -> None:
    cancelled = ApplicationFailure(Cancelled(reason="no"))

    assert cut_before_failure([started(), scheduled(2), failed(3, cancelled)]) == 2


@pytest.mark.parametrize("to_event", [1, 3, 4, 5])
def test_a_cut_is_not_next_to_itself(to_event: int) -> None:
    assert to_event not in nearest_cuts(a_failed_history(), to_event)
