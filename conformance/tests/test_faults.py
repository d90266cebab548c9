"""The fault-injecting wrapper: its faults are what they say, and the runtime survives them."""

import asyncio
from datetime import timedelta

import pytest
from perdure import Client, Registry, Runtime, RuntimeOptions, open_provider
from perdure.clock import ManualClock
from perdure.contract import TurnCommit, TurnRequest
from perdure.errors import LeaseLost, StorageFailed, StorageUnavailable
from perdure.model.status import Completed
from perdure_conformance.faults import USUAL, Fault, Faults
from perdure_conformance.samples import LEASE, event, new_instance
from perdure_conformance.samples import SERVES as CHECKED


def faults_of(fault, *operations):
    return Faults(rate=1.0, faults=[fault], operations=frozenset(operations))


def opened(faults):
    return open_provider("memory://", clock=ManualClock(), plugins=[faults])


async def leased(provider):
    await provider.create_instance(new_instance())
    request = TurnRequest(token="t", limit=1, lease_for=LEASE, serves=CHECKED)
    return (await provider.lease_turns(request))[0]


def commit_of(turn, **fields):
    state = turn.state
    return TurnCommit(
        id="c",
        instance=state.instance,
        incarnation=state.incarnation,
        token="t",
        execution=1,
        expected_event=0,
        events=(b"1",),
        **fields,
    )


async def test_a_fault_before_has_no_effect():
    async with opened(faults_of(Fault.BEFORE, "create_instance")) as provider:
        with pytest.raises(StorageUnavailable, match="injected"):
            await provider.create_instance(new_instance())

        assert await provider.read_instance("alpha") is None


async def test_a_lost_answer_comes_after_the_effect():
    async with opened(faults_of(Fault.LOST_ANSWER, "create_instance")) as provider:
        with pytest.raises(StorageUnavailable, match="lost"):
            await provider.create_instance(new_instance())

        assert await provider.read_instance("alpha") is not None


async def test_a_refusal_is_not_worth_a_retry():
    async with opened(faults_of(Fault.REFUSED, "send")) as provider:
        with pytest.raises(StorageFailed) as caught:
            await provider.send([event("one")])

        assert not caught.value.retryable


async def test_a_repeated_call_gets_the_second_answer():
    async with opened(faults_of(Fault.TWICE, "commit_turn", "send", "lease_turns")) as provider:
        turn = await leased(provider)

        answer = await provider.commit_turn(commit_of(turn, keep_for=LEASE))

        assert turn.attempt == 1
        assert answer.lease_until is not None
        assert (await provider.read_instance("alpha")).last_event == 1


async def test_a_lost_lease_refuses_the_commit():
    async with opened(faults_of(Fault.LEASE_LOSS, "commit_turn", "renew_turns")) as provider:
        turn = await leased(provider)

        with pytest.raises(LeaseLost):
            await provider.commit_turn(commit_of(turn))

        assert (await provider.read_instance("alpha")).last_event == 0


async def test_a_delay_passes_by_the_clock():
    clock = ManualClock()
    async with open_provider(
        "memory://", clock=clock, plugins=[faults_of(Fault.DELAY, "read_instance")]
    ) as provider:
        reading = asyncio.ensure_future(provider.read_instance("alpha"))
        await asyncio.sleep(0)
        clock.advance(timedelta(milliseconds=19))
        await asyncio.sleep(0)

        assert not reading.done()
        clock.advance(timedelta(milliseconds=1))
        assert await reading is None


def test_the_same_seed_gives_the_same_faults():
    first, second = (Faults(rate=0.5, seed=7) for _ in range(2))

    assert [first.choose("send") for _ in range(50)] == [second.choose("send") for _ in range(50)]
    assert first.injected == second.injected


def orders() -> Registry:
    app = Registry()

    @app.activity
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @app.orchestration
    async def child(ctx, number: int) -> int:
        return await ctx.schedule_activity(double, number)

    @app.orchestration
    async def order(ctx, number: int) -> int:
        first, second = await asyncio.gather(
            ctx.schedule_activity(double, number), ctx.schedule_sub_orchestration(child, number)
        )
        await asyncio.sleep(0.01)
        extra = await ctx.schedule_wait("extra", int)
        return first + second + extra + await ctx.schedule_activity(double, number)

    return app


@pytest.mark.slow
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{path}/store.db"])
async def test_two_hundred_instances_end_right_under_faults_at_every_call(url, tmp_path):
    faults = Faults(rate=0.0, seed=3)
    options = RuntimeOptions(
        turn_lease=timedelta(seconds=1), activity_lease=timedelta(seconds=1), max_attempts=20
    )
    async with open_provider(url.format(path=tmp_path)) as storage:
        provider = faults.wrap(storage)
        client = Client(storage)
        async with Runtime(provider, orders(), options=options):
            faults.rate = 0.1
            for number in range(200):
                await client.start_orchestration(f"order-{number}", "order", str(number))
                await client.raise_event(f"order-{number}", "extra", "1")

            found = await asyncio.gather(
                *(
                    client.wait_for_orchestration(f"order-{number}", timeout=60)
                    for number in range(200)
                )
            )
            faults.rate = 0.0

    assert found == [Completed(output=str(6 * number + 1)) for number in range(200)]
    assert {fault for _, fault in faults.injected} == set(USUAL)
