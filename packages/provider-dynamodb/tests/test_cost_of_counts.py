"""What the counts of a dashboard cost, with thousands of instances, and that they are right."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewChild,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
ENDED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")


async def create(provider, name, count):
    for number in range(count):
        instance = f"{name}-{number:05d}"
        await provider.create_instance(new_instance(instance, incarnation=instance, data=b""))


async def run_all(provider, **fields):
    """The first turn of all that is ready."""
    serves = Serves(orchestrations={"flow": frozenset()})
    while turns := await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=100, lease_for=30 * SECOND, serves=serves)
    ):
        for turn in turns:
            await provider.commit_turn(commit_of(turn, events=(b"1",), **fields))


def units(meter):
    bill = meter.take()
    return bill.total + bill.looks, bill.read_units + bill.look_units


@pytest.mark.slow
async def test_a_look_at_hundreds_of_instances_costs_a_part_of_a_unit_for_each(
    open_on_model, model
):
    meter = MeteringCalls(model)
    async with open_on_model() as provider, open_on_model(meter) as dashboard:
        await create(provider, "ended", 500)
        await run_all(provider, end=ENDED)
        await create(provider, "waiting", 50)
        await run_all(provider)
        await create(provider, "queued", 100)
        admin = dashboard.as_management_capability()
        meter.take()

        metrics = await admin.count_instances()
        requests, charged = units(meter)
        assert (metrics.completed_instances, metrics.running_instances) == (500, 150)
        assert requests < 25
        assert charged < 500 / 40 + 150 / 2 + 10

        depths = await admin.count_queues()
        requests, charged = units(meter)
        assert depths.orchestrator_queue == 100
        assert requests < 20
        assert charged < 100 / 2 + 10


async def test_a_queued_instance_counts_its_messages_however_they_came(open_on_model, clock):
    async with open_on_model() as provider:
        await provider.send([event("early", "child"), event("sooner", "child", later=clock)])
        await create(provider, "parent", 1)
        child = NewChild(instance=new_instance("child", incarnation="child", data=b""))
        await run_all_of(provider, create=(child,), send=(event("hello", "child"),))
        admin = provider.as_management_capability()
        first = await admin.count_queues()
        await provider.send([event("late", "child")])
        second = await admin.count_queues()

    assert (first.orchestrator_queue, first.timer_queue) == (3, 1)
    assert (second.orchestrator_queue, second.timer_queue) == (4, 1)


def event(name, instance, later=None):
    due = None if later is None else later.now() + 60_000_000
    return Message(id=name, instance=instance, kind=MessageKind.EVENT, data=b"", visible_at=due)


async def run_all_of(provider, **fields):
    """One turn of the one instance that is ready."""
    serves = Serves(orchestrations={"flow": frozenset()})
    [turn] = await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=1, lease_for=30 * SECOND, serves=serves)
    )
    await provider.commit_turn(commit_of(turn, events=(b"1",), **fields))
