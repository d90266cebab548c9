"""Clients that wait for instances: what their waiting reads, and that no change escapes them."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ChangeWait,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


async def create(provider, instance):
    await provider.create_instance(new_instance(instance, incarnation="first", data=b""))


async def lease(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=100, lease_for=MINUTE, serves=serves)
    )


async def commit(provider, turn):
    await provider.commit_turn(
        commit_of(
            turn,
            events=(b"1",),
            remove=("start",),
        )
    )


async def let_all_run():
    for _ in range(30):
        await asyncio.sleep(0)


async def pass_time(clock, duration, step):
    for _ in range(duration // step):
        await let_all_run()
        clock.advance(step)
    await let_all_run()


@pytest.mark.slow
async def test_many_waiters_share_a_few_cheap_reads(open_on_model, model, clock):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        for number in range(150):
            await create(provider, f"i-{number}")
        waits = []
        for number in range(300):
            wait = ChangeWait(instance=f"i-{number % 150}", timeout=2 * MINUTE)
            waits.append(asyncio.ensure_future(provider.wait_for_change(wait)))
            if number % 30 == 0:
                await pass_time(clock, SECOND / 5, SECOND / 10)
        await pass_time(clock, 10 * SECOND, SECOND / 10)
        meter.take()

        await pass_time(clock, MINUTE, SECOND / 10)

        bill = meter.take()
        await pass_time(clock, 2 * MINUTE, SECOND)
        await asyncio.gather(*waits)
    # 150 instances, half a unit for each, about every two seconds.
    assert bill.read_units <= 150 / 2 * 60 / 2 * 1.1
    assert bill.total <= 60 / 2 * 4 * 2


async def test_an_instance_that_this_process_runs_is_not_read(open_on_model, model, clock):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        await create(provider, "alpha")
        await lease(provider)
        meter.take()

        waiting = asyncio.ensure_future(
            provider.wait_for_change(ChangeWait(instance="alpha", timeout=MINUTE))
        )
        await pass_time(clock, MINUTE + SECOND, SECOND)
        await waiting

    assert meter.take().total == 0


async def test_a_commit_of_another_process_wakes_a_waiter_within_three_seconds(
    open_on_model, clock
):
    async with open_on_model() as provider, open_on_model() as other:
        await create(provider, "alpha")
        waiting = asyncio.ensure_future(
            provider.wait_for_change(ChangeWait(instance="alpha", timeout=10 * MINUTE))
        )
        await pass_time(clock, MINUTE, SECOND)
        assert not waiting.done()
        [turn] = await lease(other)
        await commit(other, turn)

        await pass_time(clock, 3 * SECOND, SECOND / 10)

        assert waiting.done()


async def test_what_happened_to_a_started_instance_before_the_wait_ends_it_without_a_pause(
    open_on_model,
):
    async with open_on_model() as provider, open_on_model() as other:
        await create(provider, "alpha")
        [turn] = await lease(other)
        await commit(other, turn)

        # The clock stands still.
        await asyncio.wait_for(
            provider.wait_for_change(ChangeWait(instance="alpha", timeout=MINUTE)), timeout=20
        )


async def test_a_waiter_outlasts_a_table_that_does_not_answer(open_on_model, model, clock):
    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model(faulty) as provider, open_on_model() as other:
        await create(provider, "alpha")
        faulty.plan = lambda operation, parameters: Fault.BUSY
        waiting = asyncio.ensure_future(
            provider.wait_for_change(ChangeWait(instance="alpha", timeout=10 * MINUTE))
        )
        await pass_time(clock, 10 * SECOND, SECOND)
        [turn] = await lease(other)
        await commit(other, turn)
        faulty.plan = lambda *_: None

        await pass_time(clock, 3 * SECOND, SECOND / 10)

        assert waiting.done()
