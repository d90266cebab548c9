"""Tables that version 0.1.0 wrote: what waits there goes on."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure_conformance.samples import commit_of
from perdure_dynamodb._keys import tag_prefix
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND
ALPHA = "test#I#alpha"


def message(message_id, kind=MessageKind.EVENT, *, due=None):
    incarnation = None if kind is MessageKind.EVENT else "first"
    return Message(
        id=message_id,
        instance="alpha",
        kind=kind,
        data=b"",
        incarnation=incarnation,
        visible_at=due,
    )


async def create(provider):
    start = message("start", MessageKind.START)
    await provider.create_instance(
        NewInstance(instance="alpha", incarnation="first", name="flow", start=start)
    )


async def lease(provider, **fields):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=serves, **fields)
    return await provider.lease_turns(request)


def as_version_0_1_0_wrote(model, *, shards=4):
    """Give all items the shape that they had: a row for each message, and none for the instance."""
    lock = dict(model.items[ALPHA, "A"])
    queue = lock.pop("gpk")
    lock.pop("gsk", None)
    for name in ("sig", "stm"):
        lock.pop(name, None)
    model.replace((ALPHA, "A"), lock)
    for (partition, sort), item in list(model.items.items()):
        if partition != ALPHA or sort[:2] not in ("M#", "W#"):
            continue
        old = dict(item)
        if sort.startswith("M#"):
            arrived = old.pop("arr")
            due = old.get("due")
            place = f"a{arrived:020d}.1" if due is None else f"t{due:020d}.1"
            old |= {"gpk": queue, "gsk": place, "nam": "flow"}
        else:
            old["gsk"] = tag_prefix(old.get("tag")) + old["gsk"].partition("#")[2]
        model.replace((partition, sort), old)


async def test_an_instance_that_waits_is_leased_with_its_messages_in_their_order(
    open_on_model, model
):
    async with open_on_model() as provider:
        await create(provider)
        await provider.send([message("one")])
        await provider.send([message("two")])
        as_version_0_1_0_wrote(model)

    async with open_on_model() as provider:
        admin = provider.as_management_capability()
        assert (await admin.count_queues()).orchestrator_queue == 3
        await provider.send([message("three")])
        [turn] = await lease(provider)

        assert [each.id for each in turn.messages] == ["start", "one", "two", "three"]
        await provider.commit_turn(commit_of(turn))
        assert await lease(provider) == ()


async def test_a_timer_wakes_its_instance(open_on_model, model, clock):
    due = clock.now() + 5_000_000
    async with open_on_model() as provider:
        await create(provider)
        timer = message("timer:1:1", MessageKind.TIMER, due=due)
        await provider.send([timer])
        as_version_0_1_0_wrote(model)
        model.replace((ALPHA, "M#start"), None)

    async with open_on_model() as provider:
        assert await lease(provider) == ()
        clock.advance(5 * SECOND)
        [turn] = await lease(provider)

        assert [each.id for each in turn.messages] == ["timer:1:1"]


async def test_a_lease_that_was_given_stands_and_its_rows_cost_only_the_first_look(
    open_on_model, model, clock
):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as other:
        await create(provider)
        [turn] = await lease(provider)
        as_version_0_1_0_wrote(model)

        assert await lease(other) == ()
        await other.close()
        meter.take()
        assert await lease(other) == ()
        assert meter.take().total == 0

        await provider.release_turn(
            TurnRelease(lease=TurnLease(instance="alpha", token=turn.token))
        )
        [again] = await lease(other)
        assert [each.id for each in again.messages] == ["start"]


@pytest.mark.parametrize("tag", [None, "gpu"])
async def test_an_activity_that_waits_is_leased_and_completed(tag, open_on_model, model):
    async with open_on_model() as provider:
        await create(provider)
        [turn] = await lease(provider)
        work = NewActivity(id="a", name="work", data=b"", tag=tag)
        await provider.commit_turn(commit_of(turn, add=(work,), keep_for=LEASE))
        as_version_0_1_0_wrote(model)

    async with open_on_model() as provider:
        request = ActivityRequest(
            token=uuid4().hex,
            limit=10,
            lease_for=LEASE,
            names=frozenset({"work"}),
            tags=frozenset({tag}),
        )
        [leased] = await provider.lease_activities(request)
        told = message("result", MessageKind.ACTIVITY)
        await provider.renew_activities([leased.lease], lease_for=LEASE)
        await provider.complete_activity(ActivityCompletion(lease=leased.lease, message=told))

        assert (ALPHA, "W#a") not in model.items
        assert (ALPHA, "M#result") in model.items
