"""Where a failed history is cut, so that the instance is tried again."""

from __future__ import annotations

from itertools import count

from perdure import history
from perdure.history import Event
from perdure.model.details import ApplicationFailure, Cancelled, Poisoned, Raised, Terminated
from perdure.records.cuts import cut_before_failure, cuts, nearest_cuts

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no"))


class History:
    """A history that is written event by event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._numbers = count(1)
        self.add(
            history.OrchestrationStarted,
            instance="i",
            incarnation="x",
            execution=1,
            name="pay",
            version="1.0.0",
            input="null",
            python="3.12",
            engine=1,
        )

    def add(self, kind: type[Event], **fields: object) -> int:
        number = next(self._numbers)
        self.events.append(kind(event_id=number, at=number, **fields))
        return number

    def schedule(self, name: str = "charge", attempt: int = 1) -> int:
        return self.add(history.ActivityScheduled, name=name, input="null", attempt=attempt)

    def succeed(self, scheduled: int) -> int:
        return self.add(history.ActivityCompleted, scheduled=scheduled, result="1")

    def fail(self, scheduled: int) -> int:
        return self.add(history.ActivityFailed, scheduled=scheduled, details=FAILURE)

    def sleep(self) -> int:
        timer = self.add(history.TimerCreated, fire_at=1)
        return self.add(history.TimerFired, scheduled=timer)

    def end(self, kind: object = FAILURE.kind) -> list[Event]:
        self.add(history.OrchestrationFailed, details=ApplicationFailure(kind))
        return self.events


def test_the_failure_of_an_activity_is_dropped():
    pay = History()
    failed = pay.fail(pay.schedule())

    assert cut_before_failure(pay.end()) == failed - 1


def test_a_success_is_kept_and_the_code_answers_to_it_again():
    pay = History()
    done = pay.succeed(pay.schedule())
    pay.schedule("never committed alone")

    assert cut_before_failure(pay.end()) == done


def test_code_that_fails_at_once_begins_again():
    assert cut_before_failure(History().end()) == 1


def test_an_activity_gets_all_its_attempts_again():
    pay = History()
    first = pay.fail(pay.schedule())
    for attempt in (2, 3):
        pay.sleep()
        pay.fail(pay.schedule(attempt=attempt))

    assert cut_before_failure(pay.end()) == first - 1


def test_what_came_in_between_two_attempts_is_kept():
    pay = History()
    other = pay.schedule("ship")
    pay.fail(pay.schedule())
    pay.succeed(other)
    second = pay.fail(pay.schedule(attempt=2))
    pay.sleep()
    pay.fail(pay.schedule(attempt=3))

    assert cut_before_failure(pay.end()) == second - 1


def test_the_failure_of_a_child_is_dropped():
    pay = History()
    child = pay.add(history.ChildScheduled, instance="c", name="ship", input="null")
    failed = pay.add(history.ChildFailed, scheduled=child, details=FAILURE)

    assert cut_before_failure(pay.end()) == failed - 1


def test_a_cancelled_execution_is_cut_before_the_request():
    pay = History()
    pay.schedule()
    request = pay.add(history.CancelRequested, reason="no more")
    pay.succeed(pay.schedule("undo"))

    assert cut_before_failure(pay.end(Cancelled(reason="no more"))) == request - 1


def test_an_end_that_came_from_outside_is_dropped_alone():
    for kind in (
        Poisoned(work="turn", attempts=3),
        Terminated(reason="no"),
        Cancelled(reason="parked, and cancelled without its code"),
    ):
        pay = History()
        pay.fail(pay.schedule())
        pay.schedule("undo")
        events = pay.end(kind)

        assert cut_before_failure(events) == len(events) - 1


def test_a_cut_is_an_incoming_event_or_the_end_of_a_turn():
    pay = History()
    pay.schedule()
    second = pay.schedule()
    done = pay.succeed(second)
    pay.schedule()
    last = pay.schedule()

    assert cuts(pay.events) == [1, second, done, last]
    assert nearest_cuts(pay.events, second - 1) == (1, second)
    assert nearest_cuts(pay.events, last + 7) == (last,)
