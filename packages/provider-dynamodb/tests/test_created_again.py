"""An incarnation that is created again after its deletion, as a late repeat of the creation does.

Removals of the first instance are held until the second one has items under the same keys, and
come then: nothing of the second one is theirs.
"""

import asyncio
import os
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRelease,
    ActivityRequest,
    ExecutionEnd,
    InstanceQuery,
    InstanceStatus,
    NewActivity,
    ParkedMark,
    TurnRequest,
)
from perdure.errors import ActivityLeaseLost
from perdure_conformance.samples import (
    LEASE,
    SERVES,
    WORK,
    commit_of,
    new_instance,
    restart,
    result,
    termination,
)
from perdure_dynamodb.testing.faults import FaultyCalls, Stall

ALPHA = "test#I#alpha"
OLD, NEW = os.urandom(20_000), os.urandom(20_000)
END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=OLD)
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
MARK = ParkedMark(reason="unregistered", details="")


class Held:
    """A transport that holds the requests which the test names, until it lets them all go."""

    def __init__(self, model, *wanted):
        self.calls = FaultyCalls(model, self._fate)
        self.count = 0
        self._wanted = wanted
        self._stall = Stall()

    def _fate(self, operation, parameters):
        text = str(parameters)
        if any(name == operation and part in text for name, part in self._wanted):
            self.count += 1
            return self._stall
        return None

    async def reached(self, count=1):
        for _ in range(300):
            if self.count >= count:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"only {self.count} requests are held")

    async def go_on(self):
        self._stall.set()
        await settle()


async def settle():
    for _ in range(300):
        await asyncio.sleep(0)


async def lease(provider, instance="alpha"):
    request = TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=SERVES)
    turns = await provider.lease_turns(request)
    return [turn for turn in turns if turn.state.instance == instance]


async def look(provider):
    request = ActivityRequest(token=uuid4().hex, limit=10, lease_for=LEASE, names=WORK)
    return await provider.lease_activities(request)


def work(data=b"", *, leased=False):
    return NewActivity(id="w", name="work", data=data, lease=leased)


async def test_a_removal_of_a_consumed_message_that_comes_late_leaves_the_next_start_message(
    open_on_model, model
):
    held = Held(model, ("DeleteItem", "M#start"))
    async with open_on_model(held.calls) as first, open_on_model() as other:
        await first.create_instance(new_instance())
        [turn] = await lease(first)
        await first.commit_turn(commit_of(turn, end=END))
        await held.reached()
        await other.delete_instance("alpha", incarnation="alpha@1")
        await other.create_instance(new_instance())

        await held.go_on()

        [turn] = await lease(other)
        assert [each.id for each in turn.messages] == ["start"]


async def test_a_removal_of_an_activity_that_comes_late_leaves_the_next_one_of_its_id(
    open_on_model, model
):
    """Some are told of by the table, after a commit, and one by the index, in a look."""
    held = Held(model, ("DeleteItem", "W#w"))
    async with open_on_model(held.calls) as first, open_on_model() as other:
        await first.create_instance(new_instance())
        [turn] = await lease(first)
        await first.commit_turn(commit_of(turn, add=(work(),), keep_for=LEASE))
        await first.commit_turn(commit_of(turn, remove=(), front=(restart(2),), end=AGAIN))
        await held.reached()
        assert not await look(first)
        await held.reached(2)
        [turn] = await lease(first)
        await first.commit_turn(commit_of(turn, end=END))
        await held.reached(3)
        await other.delete_instance("alpha", incarnation="alpha@1")
        assert (ALPHA, "W#w") not in model.items
        await other.create_instance(new_instance())
        [turn] = await lease(other)
        await other.commit_turn(commit_of(turn, add=(work(NEW),)))

        await held.go_on()

        [leased] = await look(other)
        assert (leased.id, leased.data) == ("w", NEW)


async def live(provider, data):
    """Leave a bit of everything, with large payloads, and a parked mark."""
    [turn] = await lease(provider)
    assert [each.data for each in turn.messages] == [data]
    await provider.commit_turn(
        commit_of(
            turn,
            events=(data,),
            add=(work(data),),
            values={"key": data},
            custom_status=data,
            remove=(),
            keep_for=LEASE,
        )
    )
    [leased] = await look(provider)
    assert leased.data == data
    name = f"sender-{uuid4().hex}"
    await provider.create_instance(new_instance(name))
    [sender] = await lease(provider, name)
    told = result("told", incarnation="alpha@1", data=data)
    await provider.commit_turn(commit_of(sender, send=(told,), end=END))
    return turn, leased


async def test_a_deletion_whose_removal_comes_late_leaves_all_that_the_next_instance_has(
    open_on_model, model, clock
):
    """The removal after the last commit, and that of the deletion, have not even read what there is."""
    held = Held(model, ("Query", "W$"), ("Query", "oupc"))
    async with open_on_model(held.calls) as first, open_on_model() as other:
        await first.create_instance(new_instance(data=OLD))
        turn, old = await live(first, OLD)
        held.count = 0
        await first.commit_turn(commit_of(turn, expected_event=1, remove=(), end=END))
        await held.reached()
        deletion = asyncio.create_task(first.delete_instance("alpha", incarnation="alpha@1"))
        await held.reached(2)
        await other.create_instance(new_instance(data=NEW))

        clock.advance(LEASE)
        assert not await look(other)
        late = ActivityCompletion(lease=old.lease, message=result("late", incarnation="alpha@1"))
        with pytest.raises(ActivityLeaseLost):
            await other.complete_activity(late)
        turn, new = await live(other, NEW)
        await other.release_activity(ActivityRelease(lease=new.lease, parked=MARK))

        await held.go_on()
        assert await deletion

        state = await other.read_instance("alpha")
        assert state.custom_status == NEW
        page = await other.read_history("alpha", 1, incarnation="alpha@1")
        assert [each.data for each in page.events] == [NEW]
        assert (await other.read_values("alpha")).values == {"key": NEW}
        admin = other.as_management_capability()
        found = await admin.find_instances(InstanceQuery(parked=True), limit=5)
        assert [each.instance for each in found.instances] == ["alpha"]
        [again] = await look(other)
        assert again.data == NEW
        done = ActivityCompletion(lease=again.lease, message=result("done", incarnation="alpha@1"))
        await other.complete_activity(done)
        await other.commit_turn(commit_of(turn, expected_event=1, remove=()))
        [turn] = await lease(other)
        assert {each.id: each.data for each in turn.messages} == {
            "start": NEW,
            "told": NEW,
            "done": b"",
        }

        await other.commit_turn(commit_of(turn, end=END))
        await other.delete_instance("alpha", incarnation="alpha@1")
        await settle()
        assert not [sort for partition, sort in model.items if partition == ALPHA]


async def test_a_termination_that_comes_late_is_made_again_for_the_next_instance(
    open_on_model, model
):
    held = Held(model, ("TransactWriteItems", "'late'"))
    async with open_on_model(held.calls) as first, open_on_model() as other:
        await first.create_instance(new_instance())
        late = asyncio.create_task(first.terminate_instance(termination(id="late")))
        await held.reached()
        await other.terminate_instance(termination(id="early"))
        await other.delete_instance("alpha", incarnation="alpha@1")
        await other.create_instance(new_instance())

        await held.go_on()

        assert await late
        page = await other.read_history("alpha", 1, incarnation="alpha@1")
        assert [each.data for each in page.events] == [b"terminated"]
