"""What the runtime spends: transactions, histories read, memory held."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.testing import Stage

from .conftest import WatchedProvider
from .wrapping import Wrapping

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
async def fan_out(ctx: perdure.OrchestrationContext, width: int) -> int:
    results = [ctx.schedule_activity(add_one, number) for number in range(width)]
    return len(await asyncio.gather(*results))


@app.orchestration
async def two_events(ctx: perdure.OrchestrationContext) -> int:
    return await ctx.schedule_wait("go", int) + await ctx.schedule_wait("go", int)


@app.orchestration
async def sleeper(ctx: perdure.OrchestrationContext, days: int) -> str:
    await asyncio.sleep(days * 86_400)
    return "awake"


async def test_a_chain_of_n_activities_commits_n_plus_one_turns_and_nothing_else(url) -> None:
    watched = Wrapping(WatchedProvider)
    async with Stage(app, url=url, plugins=[watched]) as stage:
        assert await stage.run(chain, 20) == 20
        assert stage.runtime.statistics.turns_committed == 21

    assert len(watched.provider.commits) == 21
    calls = dict(watched.provider.calls)
    assert calls == {"create_instance": 1, "lease_turns": 1, "commit_turn": 21}


async def test_a_fan_out_beyond_a_lease_call_is_handed_over_by_its_results_not_by_messages() -> (
    None
):
    watched = Wrapping(WatchedProvider)
    async with Stage(app, plugins=[watched]) as stage:
        assert await stage.run(fan_out, 500) == 500

    # Its lease is kept while more of its activities wait in the queue.
    assert watched.provider.calls["complete_activity"] == 0
    assert watched.provider.calls["lease_turns"] < 5


async def test_history_is_read_only_for_a_cold_instance(url) -> None:
    watched = Wrapping(WatchedProvider)
    async with Stage(app, url=url, plugins=[watched]) as stage:
        handle = await stage.start(two_events)
        await handle.raise_event("go", "1")
        await stage.settle()
        assert stage.runtime.statistics.live_executions == 1
        assert watched.provider.calls["read_history"] == 0

        await stage.restart()
        await handle.raise_event("go", "2")

        assert await handle.result() == 3
        assert watched.provider.calls["read_history"] == 1
        assert stage.runtime.statistics.histories_read == 1


@pytest.mark.slow
async def test_sleepers_beyond_the_cache_hold_no_task_no_thread_and_no_memory(url) -> None:
    count, cached = 1000, 50
    async with Stage(app, url=url, options=RuntimeOptions(cache_size=cached)) as stage:
        for _ in range(count):
            await stage.start(sleeper, 30)
        await stage.settle()

        statistics = stage.runtime.statistics
        assert (statistics.turns_committed, statistics.turns_running) == (count, 0)
        assert statistics.live_executions == cached
        # The loops of the runtime and their waits, whatever the number of instances.
        assert len(asyncio.all_tasks()) < 30
        assert threading.active_count() < 10


async def test_a_step_leaves_nothing_to_the_garbage_collector() -> None:
    async with Stage(app) as stage:

        async def garbage_of(length: int) -> int:
            gc.collect()
            gc.disable()
            try:
                await stage.run(chain, length)
                return gc.collect()
            finally:
                gc.enable()

        await garbage_of(1)

        assert abs(await garbage_of(60) - await garbage_of(10)) < 10


async def test_an_instance_that_waits_holds_few_objects() -> None:
    count = 100
    async with Stage(app) as stage:

        async def objects() -> int:
            for _ in range(count):
                await stage.start(two_events)
            await stage.settle()
            gc.collect()
            return len(gc.get_objects())

        before = await objects()

        # Those of the store included; each is looked at by every full collection.
        assert (await objects() - before) / count < 55
        assert stage.runtime.statistics.live_executions == 2 * count


# Counts of a step, which are the same on every machine


async def per_step(count: Callable[[], int]) -> float:
    """What a step counts in the midst of a chain on memory, without a stage, whose work would count, too.

    The clock stands still, so that no lease is renewed and no look for work ends beside it.
    """
    counted: list[int] = []
    counting = perdure.Registry()

    @counting.activity(name="add_one")
    async def note(value: int) -> int:
        if value in (10, 110):
            counted.append(count())
        return value + 1

    counting.orchestration(chain)
    async with (
        perdure.open_provider("memory://", clock=perdure.ManualClock()) as provider,
        perdure.Runtime(provider, counting),
    ):
        handle = await perdure.Client(provider).start_orchestration("counted", chain, 120)
        assert await handle.result(timeout=30) == 120
    return (counted[1] - counted[0]) / 100


async def test_a_step_takes_few_callbacks_of_the_hosts_loop(monkeypatch) -> None:
    loop, callbacks = asyncio.get_running_loop(), 0
    call_soon = loop.call_soon

    def counted(*args, **kwargs) -> asyncio.Handle:
        nonlocal callbacks
        callbacks += 1
        return call_soon(*args, **kwargs)

    monkeypatch.setattr(loop, "call_soon", counted)

    # The activity; the task that takes its result, makes the turn and commits it. Those that wait
    # for work have some, too, but not in each step.
    assert 2 <= await per_step(lambda: callbacks) < 3


async def test_a_step_calls_few_functions() -> None:
    calls = 0

    def counted(frame, event, arg) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(counted)
    try:
        found = await per_step(lambda: calls)
    finally:
        sys.setprofile(None)

    # Those written in Python alone. Later versions inline comprehensions, and call fewer.
    # 275 on 3.11.
    assert 150 < found < 290


async def test_a_step_of_a_chain_leaves_nothing_for_the_garbage_collector_to_look_at() -> None:
    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    # The bytes of its events are kept, and no object for each.
    assert abs(await per_step(objects)) < 0.5


async def test_the_events_of_a_step_take_few_bytes() -> None:
    watched = Wrapping(WatchedProvider)
    async with Stage(app, plugins=[watched]) as stage:
        await stage.run(chain, 20)

    sizes = [sum(map(len, commit.events)) for commit in watched.provider.commits]
    assert max(sizes[1:-1]) < 180
