"""Slots by kind: an activity is leased only where it can begin at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import timedelta

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.observe import ActivityEnded, ActivityStarted, RuntimeEvent
from perdure.testing import Stage


class Gate:
    """What the blocking activities of a test wait for, and how many do."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0


def registry() -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    def block(number: int) -> int:
        gate = perdure.activity_context().resources
        assert isinstance(gate, Gate)
        gate.inside += 1
        gate.open.wait(60)
        return number

    @app.activity
    async def quick(number: int) -> int:
        return number

    @app.orchestration
    async def fan(ctx: perdure.OrchestrationContext, job: tuple[str, int]) -> int:
        name, count = job
        work = [ctx.schedule_activity(name, k, result_type=int) for k in range(count)]
        return sum(await asyncio.gather(*work))

    return app


@pytest.fixture
def gates():
    made = [Gate(), Gate()]
    yield made
    for gate in made:
        gate.open.set()


THREADS = RuntimeOptions(activity_threads=3, shutdown_grace=timedelta(0))


@pytest.mark.parametrize("flows", ["in the worker", "elsewhere"])
async def test_blocking_activities_are_leased_only_into_free_threads(url, gates, flows) -> None:
    """By the direct path of the commit that schedules them, and from the queue."""
    app, apart, workers = registry(), perdure.Registry(), perdure.Registry()
    for orchestration in registry().orchestrations():
        apart.orchestration(name="fan")(orchestration.function)  # type: ignore[type-var]
    for activity in app.activities():
        workers.register_activity(activity.function, name=activity.name)
    together = flows == "in the worker"
    async with (
        Stage(perdure.Registry() if together else apart, url=url) as stage,
        stage.worker(app if together else workers, options=THREADS, resources=gates[0]) as one,
    ):
        handle = await stage.client.start_orchestration_typed("f", "fan", ("block", 6))
        await stage.until(lambda: gates[0].inside == 3)
        assert one.runtime.statistics.activities_running == 3
        async with stage.worker(workers, options=THREADS, resources=gates[1]):
            await stage.until(lambda: gates[1].inside == 3)
            for gate in gates:
                gate.open.set()

            assert await handle.result() == sum(range(6))


async def test_async_activities_find_room_while_all_threads_are_taken(url, gates) -> None:
    async with Stage(registry(), url=url, options=THREADS, resources=gates[0]) as stage:
        await stage.client.start_orchestration_typed("slow", "fan", ("block", 20))
        await stage.until(lambda: gates[0].inside == 3)

        quick = await stage.client.start_orchestration_typed("q", "fan", ("quick", 200))

        assert await quick.result() == sum(range(200))
        assert stage.runtime.statistics.activities_running == 3
        gates[0].open.set()


async def test_a_thread_that_is_not_waited_for_keeps_its_slot_until_its_function_ends(
    url, gates
) -> None:
    options = RuntimeOptions(activity_threads=1, cancel_grace=timedelta(0))
    async with Stage(registry(), url=url, options=options, resources=gates[0]) as stage:
        first = await stage.client.start_orchestration_typed("a", "fan", ("block", 1))
        await stage.until(lambda: gates[0].inside == 1)
        await first.cancel("enough")
        assert isinstance(await first.wait(), perdure.Failed)
        second = await stage.client.start_orchestration_typed("b", "fan", ("block", 1))
        for _ in range(50):
            await asyncio.sleep(0)
        assert gates[0].inside == 1

        gates[0].open.set()

        assert await second.result() == 0


async def test_the_time_of_an_activity_is_that_of_its_function(url, gates) -> None:
    told: list[RuntimeEvent] = []

    class Observer:
        @perdure.hookimpl
        def perdure_observe(self, event: RuntimeEvent) -> None:
            told.append(event)

    async with Stage(
        registry(),
        url=url,
        options=RuntimeOptions(activity_threads=1),
        resources=gates[0],
        plugins=[Observer()],
    ) as stage:
        handle = await stage.client.start_orchestration_typed("f", "fan", ("block", 2))
        await stage.until(lambda: gates[0].inside == 1)
        await stage.advance(7)
        gates[0].open.set()
        assert await handle.result() == 1

    began = {event.activity: event.at for event in told if isinstance(event, ActivityStarted)}
    ended = {event.activity: event.at for event in told if isinstance(event, ActivityEnded)}
    took = sorted(ended[activity] - began[activity] for activity in began)
    assert took == [0, 7_000_000]


@pytest.mark.slow
def test_a_function_that_hangs_in_its_thread_does_not_keep_the_process() -> None:
    program = """
import asyncio, threading
from datetime import timedelta
import perdure

app = perdure.Registry()
began = threading.Event()

@app.activity
def hangs() -> None:
    began.set()
    threading.Event().wait()

@app.orchestration
async def main(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(hangs)

async def run() -> None:
    options = perdure.RuntimeOptions(shutdown_grace=timedelta(0))
    async with perdure.open_provider("memory://") as provider:
        async with perdure.Runtime(provider, app, options=options):
            await perdure.Client(provider).start_orchestration("a", main)
            await asyncio.to_thread(began.wait)

asyncio.run(run())
print("ended")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\n", "")


async def test_a_chain_beside_a_large_fan_out_ends_while_most_of_the_fan_out_still_waits() -> None:
    app, before = perdure.Registry(), list[int]()
    done = 0

    @app.activity
    async def one_of_many(number: int) -> int:
        nonlocal done
        done += 1
        return number

    @app.activity
    async def step(number: int) -> int:
        return number

    @app.orchestration
    async def fan(ctx: perdure.OrchestrationContext, width: int) -> None:
        await asyncio.gather(*(ctx.schedule_activity(one_of_many, k) for k in range(width)))

    @app.orchestration
    async def chain(ctx: perdure.OrchestrationContext, length: int) -> None:
        for number in range(length):
            await ctx.schedule_activity(step, number)
        before.append(done)

    options = RuntimeOptions(max_concurrent_activities=32)
    async with Stage(app, options=options) as stage:
        crowd = await stage.client.start_orchestration("crowd", fan, 1000)
        await stage.until(lambda: done > 30)
        beside = await stage.client.start_orchestration("beside", chain, 5)
        await beside.result()
        await crowd.result()

    assert done == 1000
    assert before[0] < 500


async def test_the_queue_leaves_no_slot_where_there_are_few() -> None:
    app, running = perdure.Registry(), list[int]()
    gate = asyncio.Event()

    @app.activity
    async def waits(number: int) -> int:
        running.append(number)
        await gate.wait()
        return number

    @app.orchestration
    async def fan(ctx: perdure.OrchestrationContext, width: int) -> None:
        await asyncio.gather(*(ctx.schedule_activity(waits, k) for k in range(width)))

    async with Stage(app, options=RuntimeOptions(max_concurrent_activities=15)) as stage:
        handle = await stage.client.start_orchestration("f", fan, 20)
        await stage.until(lambda: len(running) >= 15)
        assert len(running) == 15
        gate.set()
        await handle.result()

    assert sorted(running) == list(range(20))
