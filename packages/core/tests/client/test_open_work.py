"""What a history leaves open, as the engine would deliver its events."""

from __future__ import annotations

from itertools import count

from perdure import history
from perdure.client.open_work import OpenWork
from perdure.history import Event
from perdure.model.details import ApplicationFailure, Raised

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no"))


class Reading:
    """Numbers events, and reads them."""

    def __init__(self) -> None:
        self.work = OpenWork()
        self._numbers = count(1)

    def add(self, kind: type[Event], **fields: object) -> int:
        number = next(self._numbers)
        self.work.read([kind(event_id=number, at=number, **fields)])
        return number

    def wait(self, name: str = "go") -> int:
        return self.add(history.WaitCreated, name=name)

    def event(self, name: str = "go") -> int:
        return self.add(history.EventRaised, name=name, data="1", message_id=f"event:{name}")


def test_work_is_open_until_it_ends_or_is_cancelled():
    reading = Reading()
    work = reading.work
    done = reading.add(history.ActivityScheduled, name="done", input="1")
    still = reading.add(history.ActivityScheduled, name="still", input="1")
    slept = reading.add(history.TimerCreated, fire_at=9)
    sleeping = reading.add(history.TimerCreated, fire_at=9)
    child = reading.add(history.ChildScheduled, instance="c", name="x", input="1")
    refused = reading.add(history.ChildScheduled, instance="d", name="x", input="1")
    cancelled = reading.wait()
    reading.add(history.ActivityCompleted, scheduled=done, result="1")
    reading.add(history.TimerFired, scheduled=slept)
    reading.add(history.ChildRefused, scheduled=refused)
    reading.add(history.WorkCancelled, scheduled=cancelled)

    assert list(work.activities) == [still]
    assert list(work.timers) == [sleeping]
    assert list(work.children) == [child]
    assert work.waits == {}


def test_an_event_goes_to_the_oldest_wait_of_its_name_and_is_kept_without_one():
    reading = Reading()
    work = reading.work
    early = reading.event()
    assert list(work.kept) == [early]

    reading.wait()  # takes it
    assert (work.kept, work.waits) == ({}, {})

    first, second, other = reading.wait(), reading.wait(), reading.wait("other")
    reading.event()
    assert list(work.waits) == [second, other]
    assert first not in work.waits


def test_a_refused_event_is_consumed_and_its_wait_goes_on():
    reading = Reading()
    wait = reading.wait()
    refused = reading.event()
    reading.add(history.EventRefused, event=refused, wait=wait, reason="no number")

    assert list(reading.work.waits) == [wait]
    assert reading.work.kept == {}


def test_a_polled_event_is_taken():
    reading = Reading()
    early = reading.event()
    reading.add(history.EventPolled, name="go", event=early)
    reading.add(history.EventPolled, name="go", event=None)

    assert reading.work.kept == {}


def test_an_attempt_has_the_failure_of_the_one_before():
    reading = Reading()
    first = reading.add(history.ActivityScheduled, name="pay", input="1")
    failed = reading.add(history.ActivityFailed, scheduled=first, details=FAILURE)
    second = reading.add(history.ActivityScheduled, name="pay", input="1", attempt=2)

    assert {number: each.event_id for number, each in reading.work.failures.items()} == {
        second: failed
    }
