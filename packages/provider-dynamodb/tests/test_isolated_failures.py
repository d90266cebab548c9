"""What is wrong with one instance, or in front of it, costs no other one its turn."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
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
from perdure_dynamodb import _purge
from perdure_dynamodb.testing.faults import Fault, FaultyCalls, Stall

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND


def new(instance):
    return new_instance(instance, incarnation="first", data=b"")


async def lease(provider, limit=10):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=limit, lease_for=LEASE, serves=serves)
    )


async def lease_work(provider, limit=10):
    return await provider.lease_activities(
        ActivityRequest(token=uuid4().hex, limit=limit, lease_for=LEASE, names=frozenset({"work"}))
    )


async def test_an_instance_that_cannot_be_read_costs_no_other_its_lease(
    open_on_model, model, clock
):
    trouble = True

    def throttle(operation, parameters):
        values = parameters.get("ExpressionAttributeValues", {})
        partition = values.get(":p", {}).get("S", "")
        reads = operation == "Query" and "IndexName" not in parameters
        return Fault.BUSY if trouble and reads and partition.endswith("I#hot") else None

    async with open_on_model(FaultyCalls(model, throttle)) as provider:
        await provider.create_instance(new("hot"))
        await provider.create_instance(new("healthy"))
        [turn] = await lease(provider)
        assert (turn.state.instance, turn.attempt) == ("healthy", 1)
        for _ in range(4):
            clock.advance(6 * SECOND)
            assert await lease(provider) == ()
        trouble = False
        clock.advance(6 * SECOND)
        [turn] = [each for each in await lease(provider) if each.state.instance == "hot"]
        assert turn.attempt == 1


async def test_a_damaged_activity_costs_no_other_its_lease_and_is_told(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new("one"))
        [turn] = await lease(provider)
        large = NewActivity(id="large", name="work", data=b"x" * 10_000)
        small = NewActivity(id="small", name="work", data=b"x")
        await provider.commit_turn(commit_of(turn, add=(large, small)))
        for key in [key for key in model.items if key[1].startswith("P#")]:
            del model.items[key]

        [work] = await lease_work(provider)
        assert (work.id, work.delivery) == ("small", 1)
        parked = (await provider.read_instance("one")).parked
        assert parked.reason == "undecodable"


async def test_a_commit_whose_lease_was_taken_over_while_it_read_its_mail_is_no_damage(
    open_on_model, model, clock
):
    stall, reached = Stall(), asyncio.Event()

    def stall_reading(operation, parameters):
        if operation != "BatchGetItem":
            return None
        reached.set()
        return stall

    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model() as other, open_on_model(faulty) as stalled:
        await other.create_instance(new("alpha"))
        [turn] = await lease(stalled)
        large = Message(id="e", instance="alpha", kind=MessageKind.EVENT, data=b"x" * 10_000)
        await other.send([large])
        faulty.plan = stall_reading
        committing = asyncio.ensure_future(stalled.commit_turn(commit_of(turn, keep_for=LEASE)))
        await reached.wait()
        clock.advance(LEASE)
        [taken] = await lease(other)
        await other.commit_turn(commit_of(taken))
        await other.close()
        stall.set()

        answer = await committing

    assert answer.lease_until is None


async def test_closing_does_not_wait_long_for_removals_that_the_table_refuses(
    open_on_model, model, monkeypatch
):
    monkeypatch.setattr(_purge, "LONGEST_CLOSE", 0.05)
    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model(faulty) as provider:
        await provider.create_instance(new("alpha"))
        [turn] = await lease(provider)
        events = [
            Message(id=f"e{number}", instance="alpha", kind=MessageKind.EVENT, data=b"")
            for number in range(40)
        ]
        await provider.send(events)
        faulty.plan = lambda operation, parameters: Stall() if operation == "DeleteItem" else None
        end = ExecutionEnd(status=InstanceStatus.COMPLETED)
        await provider.commit_turn(commit_of(turn, end=end))

        async with asyncio.timeout(60):
            await provider.close()


@pytest.mark.slow
async def test_a_timer_that_is_due_is_leased_however_much_else_waits(open_on_model, clock):
    async with open_on_model(shards=1) as provider:
        await provider.create_instance(new("timer"))
        [turn] = await lease(provider)
        due = Message(
            id="t",
            instance="timer",
            kind=MessageKind.TIMER,
            data=b"",
            incarnation="first",
            execution=1,
            visible_at=clock.now() + 1_000_000,
        )
        await provider.commit_turn(commit_of(turn, send=(due,)))
        clock.advance(2 * SECOND)
        for number in range(60):
            await provider.create_instance(new(f"other-{number}"))

        found = [turn.state.instance for turn in await lease(provider)]
        assert "timer" in found


@pytest.mark.slow
async def test_the_head_of_a_queue_is_looked_at_again_while_there_is_a_backlog(
    open_on_model, clock
):
    async with open_on_model(shards=1) as provider:
        for number in range(30):
            await provider.create_instance(new(f"oldest-{number}"))
        for turn in await lease(provider, limit=30):
            await provider.release_turn(
                TurnRelease(
                    lease=TurnLease(instance=turn.state.instance, token=turn.token),
                    delay=20 * SECOND,
                )
            )
        found = set()
        for round_number in range(60):
            for number in range(10):
                await provider.create_instance(new(f"other-{round_number}-{number}"))
            for turn in await lease(provider, limit=10):
                found.add(turn.state.instance)
                await provider.commit_turn(commit_of(turn))
            clock.advance(SECOND)

        assert {f"oldest-{number}" for number in range(30)} <= found


async def test_a_lease_whose_instance_cannot_be_settled_for_now_is_not_gone(open_on_model, model):
    def refuse_batches(operation, parameters):
        return (
            Fault.BUSY
            if operation == "TransactWriteItems" and ":place" in str(parameters)
            else None
        )

    async with (
        open_on_model() as worker,
        open_on_model(FaultyCalls(model, refuse_batches)) as stuck,
    ):
        for name in ("one", "two"):
            await worker.create_instance(new(name))
        add = (NewActivity(id="w", name="work", data=b""),)
        for turn in await lease(worker):
            keep = LEASE if turn.state.instance == "one" else None
            await worker.commit_turn(commit_of(turn, add=add, keep_for=keep))
            if keep is not None:
                held = turn
        works = [work.lease for work in await lease_work(worker)]
        fan = tuple(NewActivity(id=f"f{n}", name="other", data=b"") for n in range(150))
        with pytest.raises(StorageUnavailable):
            await stuck.commit_turn(commit_of(held, add=fan))

        assert len(works) == 2
        assert await stuck.renew_activities(works, lease_for=LEASE) == frozenset()
