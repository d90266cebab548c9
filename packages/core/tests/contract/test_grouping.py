"""Calls in groups: they share a round trip, they do not share a fate, and a cancelled caller leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from perdure.contract import CallGroups, Group, in_tasks
from perdure.errors import LeaseLost, StorageClosed, StorageFailed, StorageUnavailable


class Storage:
    """Keeps what is written once `gate` is open; numbers in `poison` fail the whole group."""

    def __init__(self, **options: int) -> None:
        self.groups: list[list[int]] = []
        self.kept: list[int] = []
        self.poison: set[int] = set()
        self.refused: set[int] = set()
        self.outage: Exception | None = None
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.calls: CallGroups[int, int] = CallGroups(
            in_tasks(self.carry_out), description="store", **options
        )

    async def carry_out(self, group: Group[int, int]) -> None:
        numbers = [each.call for each in group.calls]
        self.groups.append(numbers)
        self.begun.set()
        await self.gate.wait()
        if self.outage is not None:
            raise self.outage
        if self.poison & set(numbers):
            raise StorageFailed(f"{numbers} cannot be stored", operation="write")
        for each in group.calls:
            if each.call in self.refused:
                each.refuse(LeaseLost(str(each.call), operation="write"))
            else:
                self.kept.append(each.call)
                each.succeed(10 * each.call)

    def ask(self, number: int, *, undo: Callable[[int], None] | None = None) -> asyncio.Task[int]:
        return asyncio.ensure_future(self.calls.ask("write", number, undo=undo))


async def settled(*tasks: asyncio.Task[int]) -> list[int | BaseException]:
    """What came of the calls."""
    async with asyncio.timeout(5):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_that_come_while_a_group_is_under_way_form_the_next_one() -> None:
    storage = Storage()
    first = storage.ask(1)
    await storage.begun.wait()
    others = [storage.ask(number) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    storage.gate.set()

    assert await settled(first, *others) == [10, 20, 30, 40]
    assert storage.groups == [[1], [2, 3, 4]]


async def test_a_group_has_no_more_calls_than_allowed() -> None:
    storage = Storage(largest=2)
    storage.gate.set()

    await settled(*(storage.ask(number) for number in range(5)))

    assert storage.groups == [[0, 1], [2, 3], [4]]


async def test_several_groups_may_be_under_way_at_once() -> None:
    storage = Storage(largest=1, at_once=2)
    calls = [storage.ask(number) for number in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    under_way = list(storage.groups)
    storage.gate.set()
    await settled(*calls)

    assert under_way == [[0], [1]]
    assert storage.groups == [[0], [1], [2]]


async def test_a_refusal_is_the_answer_of_its_call_alone() -> None:
    storage = Storage()
    storage.refused = {2}
    storage.gate.set()

    one, two, three = await settled(*(storage.ask(number) for number in (1, 2, 3)))

    assert (one, type(two), three) == (10, LeaseLost, 30)
    assert storage.groups == [[1, 2, 3]]


async def test_a_call_that_fails_its_group_fails_alone() -> None:
    storage = Storage()
    storage.poison = {2}
    storage.gate.set()

    one, two, three = await settled(*(storage.ask(number) for number in (1, 2, 3)))

    assert (one, type(two), three) == (10, StorageFailed, 30)
    assert storage.groups == [[1, 2, 3], [1], [2], [3]]


async def test_calls_that_were_separated_do_not_take_in_others() -> None:
    storage = Storage()
    storage.poison = {1}
    calls = [storage.ask(1), storage.ask(2)]
    await storage.begun.wait()
    late = storage.ask(3)
    await asyncio.sleep(0)
    storage.gate.set()
    await settled(*calls, late)

    assert storage.groups == [[1, 2], [1], [2], [3]]


async def test_an_outage_fails_all_at_once_each_with_an_error_of_its_own() -> None:
    storage = Storage()
    storage.outage = StorageUnavailable("no route", operation="write")
    storage.outage.__cause__ = OSError("down")
    storage.gate.set()

    one, two = await settled(storage.ask(1), storage.ask(2))

    assert isinstance(one, StorageUnavailable)
    assert isinstance(two, StorageUnavailable)
    assert one is not two
    assert isinstance(two.__cause__, OSError)
    assert storage.groups == [[1, 2]]


async def test_a_call_that_is_cancelled_before_it_begins_is_withdrawn() -> None:
    storage = Storage()
    first = storage.ask(1)
    await storage.begun.wait()
    second, third = storage.ask(2), storage.ask(3)
    await asyncio.sleep(0)
    second.cancel()
    storage.gate.set()
    await settled(first, second, third)

    assert storage.kept == [1, 3]


async def test_a_call_that_is_cancelled_later_ends_with_its_group_and_is_taken_back() -> None:
    storage = Storage()
    undone: list[int] = []
    call = storage.ask(1, undo=undone.append)
    await storage.begun.wait()
    call.cancel()
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    waits = not call.done()
    storage.gate.set()
    await settled(call)

    assert waits
    assert call.cancelled()
    assert undone == [10]


async def test_what_cannot_be_taken_back_does_not_keep_answers_from_others() -> None:
    storage = Storage()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: reported.append(context["exception"])
    )
    error = StorageClosed("too late", operation="write")

    def undo(answer: int) -> None:
        raise error

    call, other = storage.ask(1, undo=undo), storage.ask(2)
    await storage.begun.wait()
    call.cancel()
    storage.gate.set()
    answers = await settled(call, other)

    assert answers[1] == 20
    assert reported == [error]


async def test_a_cancelled_call_whose_group_is_put_back_is_withdrawn() -> None:
    postponed: list[Group[int, int]] = []

    def start(group: Group[int, int]) -> None:
        postponed.append(group)

    groups: CallGroups[int, int] = CallGroups(start, description="store")
    call = asyncio.ensure_future(groups.ask("write", 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    postponed[0].postpone()
    await settled(call)

    assert call.cancelled()
    assert len(postponed) == 1


async def test_a_caller_cancelled_right_before_the_answer_does_not_wait_for_ever() -> None:
    groups: CallGroups[int, int] = CallGroups(lambda group: under_way.append(group), description="")
    under_way: list[Group[int, int]] = []
    caller = asyncio.ensure_future(groups.ask("write", 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    caller.cancel()
    under_way[0].answer()
    await settled(caller)

    assert caller.cancelled()


async def test_the_rest_of_a_group_can_be_left_to_the_next() -> None:
    sizes: list[int] = []

    def start(group: Group[int, int]) -> None:
        sizes.append(len(group.calls))
        group.calls[0].succeed(group.calls[0].call)
        group.put_back(1)
        group.answer()

    groups: CallGroups[int, int] = CallGroups(start, description="store")

    calls = [asyncio.ensure_future(groups.ask("write", number)) for number in range(3)]

    assert await settled(*calls) == [0, 1, 2]
    assert sizes == [3, 2, 1]


async def test_draining_answers_those_that_came_and_refuses_those_that_come() -> None:
    storage = Storage()
    first = storage.ask(1)
    await storage.begun.wait()
    second = storage.ask(2)
    await asyncio.sleep(0)
    draining = [asyncio.ensure_future(storage.calls.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StorageClosed, match="'store' is closed; open it again"):
        storage.calls.submit("write", 3)
    storage.gate.set()
    await asyncio.wait_for(asyncio.gather(*draining), 5)

    assert [first.done(), second.done()] == [True, True]


async def test_a_group_whose_loop_ends_leaves_no_caller_waiting() -> None:
    storage = Storage()
    call = storage.ask(1)
    await storage.begun.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task(), call}:
        task.cancel()

    (answer,) = await settled(call)

    assert isinstance(answer, StorageUnavailable)
