"""Whatever a call of the storage does, every loop of a runtime goes on, and work comes to its end."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions

from .faulty import Fault, FaultyProvider, combined
from .manual_time import SECOND, pass_time

app, flows, work = perdure.Registry(), perdure.Registry(), perdure.Registry()


@work.activity
async def quick(number: int) -> int:
    return number + 1


@work.activity
async def long(name: str) -> str:
    """Goes on for several leases, by the clock of the test."""
    context = perdure.activity_context()
    clock = context.resources
    assert isinstance(clock, perdure.ManualClock)
    await clock.sleep(timedelta(seconds=50))
    return name


@flows.orchestration
async def steps(ctx: perdure.OrchestrationContext) -> list[object]:
    first = await ctx.schedule_activity("quick", 1)
    waited = await ctx.schedule_wait("go", int)
    second = await ctx.schedule_activity("long", "slow", result_type=str)
    return [first, waited, second]


@flows.orchestration
async def strange(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity("registered nowhere")


app.include(flows)
app.include(work)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fault", "apart"), combined([(False,), (True,)], few=1), ids=str
)
async def test_every_loop_outlives_a_call_that(
    method: str, fault: Fault, apart: bool, clock: perdure.ManualClock
) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, each: complaints.append(each))
    options = RuntimeOptions(cache_size=0, unregistered_timeout=timedelta(seconds=200))
    async with perdure.open_provider("memory://", clock=clock) as inner:
        provider = FaultyProvider(inner, fault)
        client = perdure.Client(inner)
        handles = [await client.start_orchestration(name, steps) for name in ("a", "b")]
        lost = await client.start_orchestration("lost", strange)
        async with (
            Runtime(provider, flows if apart else app, options=options, resources=clock),
            Runtime(provider, work if apart else perdure.Registry(), resources=clock),
        ):
            provider.method = method
            for handle in handles:
                await handle.raise_event("go", "7")
            await pass_time(clock, 100 * SECOND, step=4 * SECOND)
            provider.mend()
            await pass_time(clock, 400 * SECOND, step=4 * SECOND)
            results = [await handle.result(timeout=0) for handle in handles]
            end = await lost.status()
    gc.collect()
    await asyncio.sleep(0)

    assert results == [[2, 7, "slow"]] * 2
    assert isinstance(end, perdure.Failed)
    assert complaints == []
    assert provider.failed[method] or method in RARE


@pytest.mark.parametrize("fault", ["is throttled", "fails for good"])
async def test_a_result_that_cannot_be_stored_for_long_is_kept_and_the_work_not_done_twice(
    fault: Fault, clock: perdure.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    once, paying, runs = perdure.Registry(), perdure.Registry(), list[str]()

    @once.activity
    async def charge(order: str) -> str:
        runs.append(order)
        return f"receipt of {order}"

    @paying.orchestration
    async def pay(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity("charge", "it", result_type=str)

    async with perdure.open_provider("memory://", clock=clock) as inner:
        provider = FaultyProvider(inner, fault)
        provider.method = "complete_activity"
        handle = await perdure.Client(inner).start_orchestration("it", pay)
        async with Runtime(inner, paying), Runtime(provider, once):
            # Six times as long as the lease, which is kept meanwhile.
            await pass_time(clock, 180 * SECOND, step=4 * SECOND)
            assert provider.failed["complete_activity"] > 10
            provider.mend()
            await pass_time(clock, 20 * SECOND, step=4 * SECOND)

            assert await handle.result(timeout=0) == "receipt of it"

    assert runs == ["it"]
    told = [record for record in caplog.records if "could not be stored yet" in record.getMessage()]
    assert len(told) == 1


RARE = ("release_activity", "release_turn", "renew_turns", "read_instance", "complete_activity")
"""Calls that this play makes in some of its variants only."""
