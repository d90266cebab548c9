"""Slots by kind: an activity is leased only where it can begin at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.observe import ActivityEnded, ActivityStarted, RuntimeEvent


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
async def test_blocking_activities_are_leased_only_into_free_threads(
    provider, eventually, gates, flows
) -> None:
    """By the direct path of the commit that schedules them, and from the queue."""
    app, apart = registry(), perdure.Registry()
    client = perdure.Client(provider)
    for orchestration in registry().orchestrations():
        apart.orchestration(name="fan")(orchestration.function)  # type: ignore[type-var]
    workers = perdure.Registry()
    for activity in app.activities():
        workers.register_activity(activity.function, name=activity.name)
    first = app if flows == "in the worker" else workers
    async with (
        Runtime(provider, perdure.Registry() if first is app else apart),
        Runtime(provider, first, options=THREADS, resources=gates[0]) as one,
    ):
        handle = await client.start_orchestration_typed("f", "fan", ("block", 6))
        await eventually(lambda: gates[0].inside == 3)
        assert one.statistics.activities_running == 3
        async with Runtime(provider, workers, options=THREADS, resources=gates[1]):
            await eventually(lambda: gates[1].inside == 3)
            for gate in gates:
                gate.open.set()

            assert await handle.result(timeout=10) == sum(range(6))


async def test_async_activities_find_room_while_all_threads_are_taken(
    provider, eventually, gates
) -> None:
    client = perdure.Client(provider)
    async with Runtime(provider, registry(), options=THREADS, resources=gates[0]) as runtime:
        await client.start_orchestration_typed("slow", "fan", ("block", 20))
        await eventually(lambda: gates[0].inside == 3)

        quick = await client.start_orchestration_typed("q", "fan", ("quick", 200))

        assert await quick.result(timeout=10) == sum(range(200))
        assert runtime.statistics.activities_running == 3
        gates[0].open.set()


async def test_a_thread_that_is_not_waited_for_keeps_its_slot_until_its_function_ends(
    timed_provider, clock, eventually, gates
) -> None:
    client = perdure.Client(timed_provider)
    options = RuntimeOptions(activity_threads=1, cancel_grace=timedelta(0))
    async with Runtime(timed_provider, registry(), options=options, resources=gates[0]):
        first = await client.start_orchestration_typed("a", "fan", ("block", 1))
        await eventually(lambda: gates[0].inside == 1)
        await first.cancel("enough")

        async def has_failed() -> bool:
            return isinstance(await first.status(), perdure.Failed)

        await eventually(has_failed)
        second = await client.start_orchestration_typed("b", "fan", ("block", 1))
        for _ in range(50):
            await asyncio.sleep(0)
        assert gates[0].inside == 1

        gates[0].open.set()

        assert await second.result(timeout=10) == 0


async def test_the_time_of_an_activity_is_that_of_its_function(
    timed_provider, clock, eventually, gates
) -> None:
    told: list[RuntimeEvent] = []

    class Observer:
        @perdure.hookimpl
        def perdure_observe(self, event: RuntimeEvent) -> None:
            told.append(event)

    client = perdure.Client(timed_provider)
    options = RuntimeOptions(activity_threads=1)
    async with Runtime(
        timed_provider, registry(), options=options, resources=gates[0], plugins=[Observer()]
    ):
        handle = await client.start_orchestration_typed("f", "fan", ("block", 2))
        await eventually(lambda: gates[0].inside == 1)
        clock.advance(timedelta(seconds=7))
        gates[0].open.set()
        assert await handle.result(timeout=10) == 1

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
