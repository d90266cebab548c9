"""What the runtime spends: transactions, histories read, memory held."""

from __future__ import annotations

import asyncio
import gc
import threading

import perdure
import pytest
from perdure import Runtime, RuntimeOptions

app = perdure.Registry()


@app.activity
async def add_one(value: int) -> int:
    return value + 1


@app.orchestration
async def chain(ctx: perdure.OrchestrationContext, length: int) -> int:
    value = 0
    for _ in range(length):
        value = await ctx.schedule_activity(add_one, value)
    return value


@app.orchestration
async def two_events(ctx: perdure.OrchestrationContext) -> int:
    return await ctx.schedule_wait("go", int) + await ctx.schedule_wait("go", int)


@app.orchestration
async def sleeper(ctx: perdure.OrchestrationContext, days: int) -> str:
    await asyncio.sleep(days * 86_400)
    return "awake"


async def test_a_chain_of_n_activities_commits_n_plus_one_turns_and_nothing_else(provider) -> None:
    async with Runtime(provider, app) as runtime:
        handle = await perdure.Client(provider).start_orchestration("chain", chain, 20)
        result = await handle.result(timeout=10)

    assert result == 20
    assert len(provider.commits) == 21
    assert runtime.statistics.turns_committed == 21
    assert dict(provider.calls) == {"create_instance": 1, "lease_turns": 1, "commit_turn": 21}


async def test_history_is_read_only_for_a_cold_instance(provider, eventually) -> None:
    client = perdure.Client(provider)
    async with Runtime(provider, app) as runtime:
        handle = await client.start_orchestration("warm", two_events)
        await handle.raise_event("go", "1")
        await eventually(lambda: runtime.statistics.live_executions == 1)
        assert provider.calls["read_history"] == 0

    async with Runtime(provider, app) as runtime:
        await handle.raise_event("go", "2")

        assert await handle.result(timeout=10) == 3
        assert provider.calls["read_history"] == 1
        assert runtime.statistics.histories_read == 1


@pytest.mark.slow
async def test_sleepers_beyond_the_cache_hold_no_task_no_thread_and_no_memory(
    timed_provider, eventually
) -> None:
    count, cached = 1000, 50
    client = perdure.Client(timed_provider)
    async with Runtime(timed_provider, app, options=RuntimeOptions(cache_size=cached)) as runtime:
        for number in range(count):
            await client.start_orchestration(f"sleeper-{number}", sleeper, 30)
        await eventually(lambda: runtime.statistics.turns_committed == count)
        await eventually(lambda: runtime.statistics.turns_running == 0)

        assert runtime.statistics.live_executions == cached
        # The loops of the runtime and their waits, whatever the number of instances.
        assert len(asyncio.all_tasks()) < 30
        assert threading.active_count() < 10


async def test_a_step_leaves_nothing_to_the_garbage_collector() -> None:
    async with perdure.open_provider("memory://") as provider, Runtime(provider, app):
        client = perdure.Client(provider)

        async def garbage_of(length: int) -> int:
            gc.collect()
            gc.disable()
            try:
                handle = await client.start_orchestration(f"chain-{length}", chain, length)
                await handle.result(timeout=10)
                return gc.collect()
            finally:
                gc.enable()

        await garbage_of(1)

        assert abs(await garbage_of(60) - await garbage_of(10)) < 10


async def test_an_instance_that_waits_holds_few_objects(eventually) -> None:
    count = 100
    async with perdure.open_provider("memory://") as provider, Runtime(provider, app) as runtime:
        client = perdure.Client(provider)

        async def objects_of(prefix: str) -> int:
            cached = runtime.statistics.live_executions
            for number in range(count):
                await client.start_orchestration(f"{prefix}-{number}", two_events)
            await eventually(lambda: runtime.statistics.live_executions == cached + count)
            await eventually(lambda: runtime.statistics.turns_running == 0)
            gc.collect()
            return len(gc.get_objects())

        before = await objects_of("first")

        # Those of the store included; each is looked at by every full collection.
        assert (await objects_of("second") - before) / count < 55
