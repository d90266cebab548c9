"""An execution runs wherever its host calls it: without a loop, in a callback, in the midst of a task."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
from perdure.authoring.catalog import Catalog
from perdure.history import Event, OrchestrationCompleted, OrchestrationStarted
from perdure.replay.execution import Execution

app = perdure.Registry()
LIMIT = timedelta(minutes=5)


@app.orchestration
async def flow(ctx: perdure.OrchestrationContext) -> str:
    """Steps a task of its own, and says which one is current."""
    inner = await asyncio.create_task(named(), name="inner")
    current = asyncio.current_task()
    assert current is not None
    return f"{inner} in {current.get_name()}"


async def named() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


def play() -> Event | None:
    catalog = Catalog([app])
    definition = catalog.orchestration("flow", None)
    assert definition is not None
    started = OrchestrationStarted(
        event_id=1,
        at=0,
        instance="i",
        incarnation="one",
        execution=1,
        name="flow",
        version="1.0.0",
        input="null",
        python="3.11",
        engine=1,
    )
    execution = Execution.begin(started, definition, catalog, cleanup_timeout=LIMIT)
    execution.discard()
    return execution.terminal


def is_complete(end: Event | None) -> bool:
    return isinstance(end, OrchestrationCompleted) and end.output == '"inner in orchestration"'


def test_without_a_loop_around_it() -> None:
    assert is_complete(play())


async def test_in_a_callback_of_a_loop() -> None:
    played = asyncio.get_running_loop().create_future()

    asyncio.get_running_loop().call_soon(lambda: played.set_result(play()))

    assert is_complete(await played)


async def test_in_the_midst_of_a_task_which_is_the_current_one_again_afterwards() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    assert is_complete(play())

    assert asyncio.get_running_loop() is loop
    assert asyncio.current_task() is task
    async with asyncio.timeout(5):  # which asks for the current task
        await asyncio.sleep(0)
