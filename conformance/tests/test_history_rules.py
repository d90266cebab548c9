"""Every violation of a rule of histories is found, and a history without one passes."""

from dataclasses import replace

import pytest
from perdure import ApplicationFailure, Terminated, history
from perdure_conformance.history_rules import violations_in

STARTED = history.OrchestrationStarted(
    event_id=1,
    at=10,
    instance="alpha",
    incarnation="one",
    execution=1,
    name="flow",
    version="1.0.0",
    input="null",
    python="3.12",
    engine=1,
)
SCHEDULED = history.ActivityScheduled(event_id=2, at=10, name="work", input="null")
TIMER = history.TimerCreated(event_id=3, at=10, fire_at=30)
RAISED = history.EventRaised(event_id=4, at=20, name="go", data="null", message_id="event:1")
DONE = history.ActivityCompleted(event_id=5, at=20, scheduled=2, result="null")
FIRED = history.TimerFired(event_id=6, at=30, scheduled=3)
COMPLETED = history.OrchestrationCompleted(event_id=7, at=30, output="null")
GOOD = (STARTED, SCHEDULED, TIMER, RAISED, DONE, FIRED, COMPLETED)


def altered(number, event):
    return tuple(event if each.event_id == number else each for each in GOOD)


def test_a_good_history_has_no_faults():
    assert violations_in(GOOD, ended=True) == []
    assert violations_in(GOOD[:-1], ended=False) == []


PATCH = history.PatchApplied(event_id=2, at=10, name="add-check")
WAIT = history.WaitCreated(event_id=2, at=10, name="go")
REFUSED = history.EventRefused(event_id=4, at=20, event=3, wait=2, reason="too short")
REFUSING = (STARTED, WAIT, replace(RAISED, event_id=3), REFUSED)


def test_a_refused_event_is_no_fault():
    assert violations_in(REFUSING, ended=False) == []


FAILED = history.OrchestrationFailed(
    event_id=1, at=10, details=ApplicationFailure(Terminated(reason="by mistake"))
)


def test_an_execution_that_was_terminated_before_its_first_turn_has_its_end_alone():
    assert violations_in((FAILED,), ended=True) == []


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        pytest.param((FAILED,), False, id="an end of what has not ended"),
        pytest.param((FAILED, replace(FAILED, event_id=2)), True, id="an end alone, twice"),
        pytest.param((*GOOD[:2], *GOOD[3:]), True, id="a number is missing"),
        pytest.param(GOOD[1:], True, id="the start is missing"),
        pytest.param(altered(4, replace(STARTED, event_id=4, at=20)), True, id="two starts"),
        pytest.param(altered(5, replace(DONE, scheduled=3)), True, id="the end of another kind"),
        pytest.param(altered(5, replace(DONE, scheduled=6)), True, id="the end of later work"),
        pytest.param(
            altered(6, replace(DONE, event_id=6, at=30)), True, id="work that ended twice"
        ),
        pytest.param(altered(5, replace(RAISED, event_id=5)), True, id="an event raised twice"),
        pytest.param((STARTED, PATCH, replace(PATCH, event_id=3)), False, id="a patch twice"),
        pytest.param(altered(5, replace(DONE, at=5)), True, id="time that goes back"),
        pytest.param(altered(3, replace(TIMER, fire_at=31)), True, id="a timer that is early"),
        pytest.param(GOOD[:-1], True, id="no terminal event"),
        pytest.param(GOOD, False, id="a terminal event too soon"),
        pytest.param((*GOOD, replace(COMPLETED, event_id=8)), True, id="two terminal events"),
        pytest.param((*REFUSING, replace(REFUSED, event_id=5)), False, id="refused twice"),
        pytest.param(
            (*REFUSING[:3], replace(REFUSED, event=2)), False, id="a refusal of no external event"
        ),
        pytest.param((*REFUSING[:3], replace(REFUSED, wait=3)), False, id="a refusal for no wait"),
    ],
)
def test_a_fault_is_found(events, ended):
    assert violations_in(events, ended=ended) != []
