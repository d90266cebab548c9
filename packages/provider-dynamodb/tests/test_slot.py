"""The slot: one item that a step after a step takes over, and what others make of it."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    Serves,
    TurnRequest,
)
from perdure.errors import ActivityLeaseLost
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb import DynamoDBOptions, _commits, _manifest
from perdure_dynamodb._opening import open_on
from perdure_dynamodb.testing.metering import MeteringCalls
from perdure_dynamodb.testing.model import ModelCalls

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND
ALPHA = "test#I#alpha"
TOKEN = "worker"  # noqa: S105 # no secret
SLOT = (ALPHA, "W#")


class Chain:
    """An instance whose activities run one after the other, in the process that commits."""

    def __init__(self, provider, turn):
        self.provider = provider
        self._turn = turn
        self.events = 0

    async def step(self, add=None, *, finish=(), name="work", keeps=True, lease=True, **more):
        """Add an activity that is leased at once, and finish others."""
        added = () if add is None else (NewActivity(id=add, name=name, data=b"", lease=lease),)
        commit = commit_of(
            self._turn,
            expected_event=self.events,
            events=(b"event",),
            remove=("start",) if self.events == 0 else (),
            add=added,
            finish=tuple(lease_of(each) for each in finish),
            keep_for=LEASE if keeps else None,
            activity_token=TOKEN,
            activity_lease_for=LEASE,
            **more,
        )
        answer = await self.provider.commit_turn(commit)
        self.events += 1
        return answer


async def begin(provider):
    await provider.create_instance(new_instance("alpha", incarnation="first", data=b""))
    return Chain(provider, await lease_turn(provider))


async def lease_turn(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(token=uuid4().hex, limit=1, lease_for=LEASE, serves=serves)
    [turn] = await provider.lease_turns(request)
    return turn


def lease_of(activity):
    return ActivityLease(instance="alpha", activity=activity, token=TOKEN)


async def look(provider, name="work"):
    request = ActivityRequest(token=uuid4().hex, limit=10, lease_for=LEASE, names=frozenset({name}))
    return [(each.id, each.name) for each in await provider.lease_activities(request)]


def result_of(activity):
    message = Message(
        id=f"result of {activity}",
        instance="alpha",
        kind=MessageKind.ACTIVITY,
        data=b"",
        incarnation="first",
        execution=1,
    )
    return ActivityCompletion(lease=lease_of(activity), message=message)


def activities(model):
    return sorted(sort for partition, sort in model.items if sort.startswith("W#"))


async def test_an_activity_after_an_activity_is_put_over_it_in_its_place(open_on_model, model):
    async with open_on_model() as provider:
        chain = await begin(provider)
        await chain.step("a")
        place = model.items[SLOT]["gsk"]
        await chain.step("b", finish=["a"])

    assert activities(model) == ["W#"]
    assert (model.items[SLOT]["aid"], model.items[SLOT]["gsk"]) == ("b", place)
    assert model.items[ALPHA, "A"]["slt"] == "b"


async def test_others_take_the_last_one_when_its_lease_is_over_by_its_own_name(
    open_on_model, clock
):
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a")
        await chain.step("b", finish=["a"], name="other work")
        assert await look(other, "other work") == []
        clock.advance(LEASE)

        assert await look(other, "work") == []
        assert await look(other, "other work") == [("b", "other work")]


async def test_a_steps_lease_is_looked_at_when_it_ends_though_it_keeps_an_earlier_ones_place(
    open_on_model, clock, model
):
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a")
        clock.advance(LEASE / 3)
        await chain.step("b", finish=["a"])
        clock.advance(LEASE * 2 / 3)
        assert await look(other) == []
        clock.advance(LEASE / 3)

        assert await look(other) == [("b", "work")]


async def test_where_the_index_lags_no_process_gets_an_activity_of_another_name(clock):
    model = ModelCalls(index_lag=10**6)
    options = DynamoDBOptions(table="model", namespace="test", shards=1)
    async with open_on(model, options, clock=clock) as provider:
        await provider.create_instance(new_instance("alpha", incarnation="first", data=b""))
        model.show_everything()
        chain = Chain(provider, await lease_turn(provider))
        await chain.step("a")
        model.show_everything()
        await chain.step("b", finish=["a"], name="other work")
        clock.advance(LEASE)

        assert await look(provider, "work") == []
        model.show_everything()
        assert await look(provider, "other work") == [("b", "other work")]


async def test_a_late_completion_of_what_was_in_the_slot_leaves_the_next_one_alone(
    open_on_model, model
):
    async with open_on_model() as provider, open_on_model() as late:
        chain = await begin(provider)
        await chain.step("a")
        await chain.step("b", finish=["a"])

        # Both are leased under the same token.
        with pytest.raises(ActivityLeaseLost):
            await late.complete_activity(result_of("a"))
        await late.release_activity(ActivityRelease(lease=lease_of("a")))
        renewed = await late.renew_activities([lease_of("a"), lease_of("b")], lease_for=LEASE)

    assert renewed == {lease_of("a")}
    assert model.items[SLOT]["aid"] == "b"
    assert model.items[SLOT]["tok"] == TOKEN


async def test_what_another_process_takes_over_stays_in_the_slot_and_the_next_one_goes_elsewhere(
    open_on_model, model, clock
):
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a")
        clock.advance(LEASE)
        assert await look(other) == [("a", "work")]
        await chain.step("b")

    assert activities(model) == ["W#", "W#b"]
    assert model.items[ALPHA, "A"]["slt"] == "a"


async def test_the_slot_is_used_again_after_a_completion_by_message(open_on_model, model):
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a", keeps=False)
        await other.complete_activity(result_of("a"))
        again = Chain(other, await lease_turn(other))
        again.events = 1
        await again.step("b")

    assert activities(model) == ["W#"]
    assert model.items[SLOT]["aid"] == "b"


@pytest.mark.parametrize("staged", [False, True])
async def test_a_process_that_does_not_know_the_slot_looks_once_and_goes_elsewhere(
    staged, open_on_model, model, clock, monkeypatch
):
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a")
        await provider.send([Message(id="e", instance="alpha", kind=MessageKind.EVENT, data=b"")])
        clock.advance(LEASE)
        again = Chain(other, await lease_turn(other))
        again.events = 1
        if staged:
            monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
            monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)
        await again.step("b")
        await again.step("c", finish=["b"])

    assert activities(model) == ["W#", "W#c"]
    assert model.items[SLOT]["aid"] == "a"


@pytest.mark.parametrize("staged", [False, True])
async def test_a_cancelled_activity_leaves_the_slot_to_the_next_one(
    staged, open_on_model, model, monkeypatch
):
    if staged:
        monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
        monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)
    async with open_on_model() as provider, open_on_model() as other:
        chain = await begin(provider)
        await chain.step("a")
        await chain.step("b", cancel=("a",))
        lost = await other.renew_activities([lease_of("a"), lease_of("b")], lease_for=LEASE)
        await chain.step(cancel=("b",))

    assert lost == {lease_of("a")}
    assert activities(model) == []
    assert "slt" not in model.items[ALPHA, "A"]


async def test_the_next_execution_begins_with_an_empty_slot(open_on_model, model):
    async with open_on_model() as provider:
        chain = await begin(provider)
        await chain.step("a")
        again = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"")
        await chain.step(end=again)

        assert "slt" not in model.items[ALPHA, "A"]
        assert await provider.renew_activities([lease_of("a")], lease_for=LEASE) == {lease_of("a")}


async def test_the_repeat_of_a_step_changes_nothing(open_on_model, model):
    async with open_on_model() as provider:
        chain = await begin(provider)
        await chain.step("a")
        await chain.step("b", finish=["a"], id="again")
        before = dict(model.items)
        chain.events -= 1
        await chain.step("b", finish=["a"], id="again")

    assert model.items == before


async def test_a_step_to_another_name_moves_its_entry_in_the_index(open_on_model, model):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        chain = await begin(provider)
        await chain.step("a")
        costs = []
        for activity, before, name in [("b", "a", "work"), ("c", "b", "other work")]:
            meter.take()
            await chain.step(activity, finish=[before], name=name)
            bill = meter.take()
            costs.append((bill.total, bill.write_units, bill.read_units))

    assert costs == [(1, 6, 0), (1, 8, 0)]
