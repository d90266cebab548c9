"""A turn as a function of what came in: which messages and results the execution gets, and when."""

from __future__ import annotations

from typing import cast

import pytest
from perdure.contract import InstanceState, InstanceStatus, Message, MessageKind, ParkedState
from perdure.model.details import ErrorDetails
from perdure.model.wire import ResultData
from perdure.replay.execution import Execution
from perdure.replay.signals import UndecodableData
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.delivery import Delivery
from perdure.runtime.host_loop import Pacer


class FakeExecution:
    """Takes notes of what it is given."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.terminal: object = None
        self.unwanted: set[str] = set()
        self.is_quiet = True

    def accept(self, message: Message, now: int, most: int) -> bool:
        if message.id == "damaged":
            raise UndecodableData("it is damaged")
        self.got.append(message.id)
        if message.id == "last":
            self.terminal = "the end"
        return True

    def accept_result(self, kind: MessageKind, result: ResultData, now: int, most: int) -> bool:
        if result.result in self.unwanted:
            return False
        self.got.append(str(result.result))
        return True

    def fail_cleanup(self, details: ErrorDetails) -> None:
        self.got.append(details.display_message())
        self.terminal = "the end"


def state(parked: str | None = None) -> InstanceState:
    return InstanceState(
        instance="i",
        incarnation="x",
        name="flow",
        version=None,
        engine=1,
        execution=1,
        last_event=0,
        last_commit=None,
        status=InstanceStatus.RUNNING,
        output=None,
        created_at=0,
        updated_at=0,
        parked=None if parked is None else ParkedState(reason=parked, details="", since=0),
    )


def message(id: str, kind: MessageKind = MessageKind.EVENT) -> Message:
    return Message(id=id, instance="i", kind=kind, data=b'{"reason": "enough"}')


def result(text: str) -> HeldActivity:
    held = HeldActivity("i", "x", 1, f"1:{text}", "work", None, "t", 0, 1, 0, stored=b"")
    held.result = ResultData(scheduled=1, result=text)
    return held


START, CANCEL = message("start", MessageKind.START), message("cancel", MessageKind.CANCEL)


class Stage:
    """A delivery with a fake execution."""

    def __init__(self, *messages: Message, parked: str | None = None, one_by_one: bool = False):
        self.execution = FakeExecution()
        self.delivery = Delivery(state(parked), messages, more=False, one_by_one=one_by_one)

    def begin(self, start: Message) -> Execution:
        self.execution.got.append(f"begun by {start.id}")
        return cast("Execution", self.execution)

    def begun(self) -> None:
        self.delivery.execution = cast("Execution", self.execution)

    def deliver(self, most_results: int = 16) -> UndecodableData | None:
        delivering = self.delivery.deliver(self.begin, 0, most_results, Pacer())
        while True:
            try:
                delivering.send(None)
            except StopIteration as done:
                return done.value


def test_a_cancellation_comes_before_what_came_with_it_and_after_the_start() -> None:
    stage = Stage(message("a"), START, message("b"), CANCEL)
    stage.deliver()

    assert stage.execution.got == ["begun by start", "cancel", "a", "b"]
    assert stage.delivery.consumed == ["start", "cancel", "a", "b"]
    assert stage.delivery.cancel is CANCEL
    assert not stage.delivery.has_work


def test_after_a_lease_without_a_commit_messages_come_one_by_one() -> None:
    stage = Stage(START, message("a"), message("b"), one_by_one=True)
    turns: list[list[str]] = []
    while stage.delivery.has_work:
        stage.deliver()
        turns.append(stage.delivery.consumed)

    assert turns == [["start"], ["a"], ["b"]]


def test_what_cannot_be_read_stays_in_hand_and_so_does_what_is_behind_it() -> None:
    stage = Stage(message("a"), message("damaged"), message("b"))
    stage.begun()
    stage.delivery.results.append(result("5"))
    refused = stage.deliver()

    assert isinstance(refused, UndecodableData)
    assert stage.execution.got == ["a"]
    assert stage.delivery.consumed == ["a"]
    assert [each.id for each in stage.delivery.messages] == ["damaged", "b"]
    assert stage.delivery.taken == []


def test_an_instance_that_is_parked_for_it_and_cancelled_ends_at_what_cannot_be_read() -> None:
    stage = Stage(CANCEL, message("damaged"), parked="undecodable")
    stage.begun()
    refused = stage.deliver()

    assert refused is None
    assert stage.execution.got == ["cancel", "canceled: enough"]


def test_the_first_message_must_be_the_start() -> None:
    stage = Stage(message("a"))

    assert "where the start message was due" in str(stage.deliver())


@pytest.mark.parametrize("count", [1, 3])
def test_results_follow_the_messages_up_to_the_limit_of_a_commit(count: int) -> None:
    stage = Stage(message("a"))
    stage.begun()
    results = [result(str(number)) for number in range(5)]
    stage.delivery.results.extend(results)
    stage.deliver(most_results=count)

    assert stage.execution.got == ["a", *map(str, range(count))]
    assert stage.delivery.taken == results[:count]
    assert stage.delivery.results == results[count:]


def test_a_result_that_is_not_wanted_any_more_is_dropped() -> None:
    stage = Stage()
    stage.begun()
    stage.execution.unwanted = {"1"}
    unwanted, wanted = result("1"), result("2")
    stage.delivery.results.extend([unwanted, wanted])
    stage.deliver()

    assert (stage.delivery.dropped, stage.delivery.taken) == ([unwanted], [wanted])


def test_after_the_end_nothing_more_is_delivered() -> None:
    stage = Stage(message("last"), message("late"))
    stage.begun()
    late = result("1")
    stage.delivery.results.append(late)
    stage.deliver()

    assert stage.execution.got == ["last"]
    assert [each.id for each in stage.delivery.messages] == ["late"]
    assert stage.delivery.results == [late]


def test_the_results_of_a_void_turn_are_in_hand_again_in_their_order() -> None:
    stage = Stage()
    stage.begun()
    results = [result(str(number)) for number in range(3)]
    stage.delivery.results.extend(results)
    stage.deliver(most_results=2)
    stage.delivery.take_back()

    assert (stage.delivery.taken, stage.delivery.results) == ([], results)
