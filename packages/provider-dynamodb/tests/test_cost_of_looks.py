"""What a look for turns reads and waits for: what it can lease, and not what others have or serve."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    Message,
    MessageKind,
    NewActivity,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls, Stall
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND


async def create(provider, instance, name="flow"):
    await provider.create_instance(new_instance(instance, incarnation="first", name=name, data=b""))


async def lease(provider, limit=100, unregistered_for=None):
    return await provider.lease_turns(
        TurnRequest(
            token=uuid4().hex,
            limit=limit,
            lease_for=LEASE,
            serves=Serves(orchestrations={"flow": frozenset()}),
            unregistered_for=unregistered_for,
        )
    )


def big_commit(turn):
    return commit_of(
        turn,
        events=(b"1",),
        remove=("start",),
        add=tuple(NewActivity(id=f"a{number}", name="work", data=b"") for number in range(300)),
    )


def is_batch_of_staged_commit(operation, parameters):
    return operation == "TransactWriteItems" and "stp = :place" in str(parameters)


@pytest.mark.parametrize(("unregistered_for", "most"), [(None, 4), (SECOND, 12)])
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_what_another_service_queues_costs_the_same_however_much_it_is(
    count, unregistered_for, most, open_on_model, model
):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        for number in range(count):
            await create(provider, f"i-{number}", name="of-another-service")
        await lease(provider)
        meter.take()

        assert await lease(provider, unregistered_for=unregistered_for) == ()

    bill = meter.take()
    assert bill.total == 0
    assert bill.look_units <= most


async def test_a_message_to_an_instance_of_another_service_is_passed_over_by_the_index_alone(
    open_on_model, model
):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        await create(provider, "alpha", name="of-another-service")
        await provider.send([Message(id="e", instance="alpha", kind=MessageKind.EVENT, data=b"")])
        del model.items["test#I#alpha", "M#start"]
        meter.take()

        assert await lease(provider) == ()

    assert meter.take().total == 0


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_what_other_processes_have_leased_or_delayed_costs_the_same_however_much_it_is(
    count, open_on_model, model
):
    meter = MeteringCalls(model)
    async with open_on_model() as holder, open_on_model(meter) as other:
        for number in range(count):
            await create(holder, f"i-{number}")
        leased = 0
        while turns := await lease(holder):
            leased += len(turns)
            for turn in turns[::3]:
                held = TurnLease(instance=turn.state.instance, token=turn.token)
                await holder.release_turn(TurnRelease(lease=held, delay=LEASE))
        # Unread messages, of what is leased and of what is delayed.
        for number in range(count):
            event = Message(id="e", instance=f"i-{number}", kind=MessageKind.EVENT, data=b"")
            await holder.send([event])
        await lease(other)
        meter.take()

        assert await lease(other) == ()

    bill = meter.take()
    assert leased == count
    assert bill.total == 0
    assert bill.look_units <= 4


@pytest.mark.parametrize("limit", [1, 10, 100])
async def test_each_instance_of_a_backlog_costs_about_two_read_units(limit, open_on_model, model):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        for number in range(200):
            await create(provider, f"i-{number}")
        meter.take()

        leased = 0
        while turns := await lease(provider, limit):
            leased += len(turns)
            for turn in turns:
                await provider.commit_turn(
                    commit_of(
                        turn,
                        remove=("start",),
                    )
                )

    bill = meter.take()
    assert leased == 200
    # Which places a look meets first is drawn by lot: 2.1 at a limit of 1, more or less.
    assert (bill.read_units + bill.look_units) / leased < 2.4


class Slow:
    """Lets others run before and after each request, as a network does."""

    def __init__(self, inner):
        self.inner = inner

    async def call(self, operation, parameters):
        for _ in range(3):
            await asyncio.sleep(0)
        answer = await self.inner.call(operation, parameters)
        for _ in range(3):
            await asyncio.sleep(0)
        return answer


@pytest.mark.slow
async def test_processes_that_look_at_the_same_moment_want_different_instances(
    open_on_model, model
):
    attempts = 0

    def count(operation, parameters):
        nonlocal attempts
        attempts += operation == "UpdateItem"

    slow = Slow(FaultyCalls(model, count))
    async with (
        open_on_model(slow) as one,
        open_on_model(slow) as two,
        open_on_model(slow) as three,
        open_on_model(slow) as four,
    ):
        for number in range(400):
            await create(one, f"i-{number}")
        attempts = 0

        rounds = [
            await asyncio.gather(*(lease(each, limit=5) for each in (one, two, three, four)))
            for _ in range(10)
        ]

    leased = sum(len(turns) for answers in rounds for turns in answers)
    assert leased == 200
    # Were all to want the oldest, each would be tried for four times.
    assert attempts / leased < 2


async def test_looks_leave_a_staged_commit_alone_while_its_committer_has_the_lease(
    open_on_model, model, clock
):
    stall, reached = Stall(), asyncio.Event()

    def stall_batches(operation, parameters):
        if not is_batch_of_staged_commit(operation, parameters):
            return None
        reached.set()
        return stall

    watched = FaultyCalls(model, lambda *_: None)
    async with (
        open_on_model(FaultyCalls(model, stall_batches)) as committer,
        open_on_model(watched) as other,
    ):
        await create(committer, "big")
        [turn] = await lease(committer)
        committing = asyncio.ensure_future(committer.commit_turn(big_commit(turn)))
        await reached.wait()
        watched.requests.clear()

        clock.advance(LEASE - SECOND)
        assert await lease(other) == ()
        assert set(watched.requests) <= {"Query", "BatchGetItem", "GetItem"}

        stall.set()
        await committing
        work = ActivityRequest(token="w", limit=300, lease_for=LEASE, names=frozenset({"work"}))  # noqa: S106 # no secret
        assert len(await other.lease_activities(work)) == 300


async def test_a_look_does_not_wait_for_the_rest_of_a_dead_processs_commit(
    open_on_model, model, clock
):
    stall = Stall()

    def die(operation, parameters):
        return Fault.LOST_REQUEST if is_batch_of_staged_commit(operation, parameters) else None

    def stall_batches(operation, parameters):
        return stall if is_batch_of_staged_commit(operation, parameters) else None

    async with (
        open_on_model(FaultyCalls(model, die)) as dead,
        open_on_model(FaultyCalls(model, stall_batches)) as other,
    ):
        await create(dead, "big")
        [turn] = await lease(dead)
        with suppress(StorageUnavailable):
            await dead.commit_turn(big_commit(turn))
        clock.advance(LEASE)
        for number in range(5):
            await create(other, f"small-{number}")

        async with asyncio.timeout(5):
            turns = await lease(other)

        assert len(turns) == 5
        stall.set()
        await other.send([Message(id="e", instance="big", kind=MessageKind.EVENT, data=b"")])
        [turn] = await lease(other)
        assert (turn.state.instance, turn.state.last_event) == ("big", 1)
