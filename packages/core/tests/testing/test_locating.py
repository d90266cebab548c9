"""Where the code stands, for everything that a task may wait for, at the end and earlier."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta

import perdure
import pytest
from perdure.errors import InvalidInput
from perdure.testing import Location, Stage, locate

app = perdure.Registry()


@app.activity
async def work(name: str) -> str:
    return name


@app.activity
async def refuse() -> None:
    raise ConnectionError("out of reach")


@app.orchestration
async def one_activity(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(work, "a")
    await ctx.schedule_activity(work, "b", tag="away")  # stands here


@app.orchestration
async def gather_of_three(ctx: perdure.OrchestrationContext) -> None:
    await asyncio.gather(
        *(ctx.schedule_activity(work, each, tag="away") for each in "abc")
    )  # stands here


@app.orchestration
async def gather_of_tasks(ctx: perdure.OrchestrationContext) -> None:
    async def step(name: str) -> None:
        await ctx.schedule_wait(name)  # each stands here

    await asyncio.gather(step("x"), step("y"))  # stands here


@app.orchestration
async def lock(ctx: perdure.OrchestrationContext) -> None:
    held = asyncio.Lock()

    async def hold() -> None:
        async with held:  # the second stands here
            await ctx.schedule_wait("go")  # the first stands here

    await asyncio.gather(hold(), hold())


@app.orchestration
async def timer(ctx: perdure.OrchestrationContext) -> None:
    async with asyncio.timeout(600):
        await asyncio.sleep(60)  # stands here


@app.orchestration
async def wait(ctx: perdure.OrchestrationContext) -> None:
    await asyncio.shield(ctx.schedule_wait("go"))  # stands here


@app.orchestration
async def child(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(wait, instance="kid")  # stands here


@app.orchestration
async def retried(ctx: perdure.OrchestrationContext) -> None:
    policy = perdure.RetryPolicy(max_attempts=3, backoff=perdure.Fixed(timedelta(hours=1)))
    await ctx.schedule_activity(refuse, retry=policy)  # stands here


async def stands(orchestration, *, event: int | None = None) -> Location:
    """Where it stands when nothing more can happen, or stood at an event of its history."""
    async with Stage(app) as stage:
        await stage.client.start_orchestration("i", orchestration)
        await stage.settle()
        events = await stage.client.read_execution_history("i", 1)
        # Within a running loop, as the command and the page call it.
        return locate(events, app, event=event)


def found(location: Location) -> list[tuple[str, str, tuple[str, ...]]]:
    """The name, the text of the innermost line and the waits of each task."""
    assert location.disagreement == ""
    return [(task.name, task.lines[-1].text, task.waits_for) for task in location.tasks]


async def test_an_activity_under_way_is_found_and_an_earlier_one_at_its_event() -> None:
    (task,) = (await stands(one_activity)).tasks
    assert task.waits_for == ("activity 'work' (event 4)",)
    assert (
        task.lines[-1].text == 'await ctx.schedule_activity(work, "b", tag="away")  # stands here'
    )
    source, first = inspect.getsourcelines(one_activity)
    assert source[task.lines[-1].line - first] == f"    {task.lines[-1].text}\n"
    assert task.lines[-1].file == __file__
    assert str(task.lines[-1]).endswith("in one_activity")

    earlier = await stands(one_activity, event=1)
    assert earlier.event == 2  # what the code asked for at event 1 belongs to it
    assert found(earlier) == [
        ("orchestration", 'await ctx.schedule_activity(work, "a")', ("activity 'work' (event 2)",))
    ]


async def test_a_gather_names_all_that_it_waits_for() -> None:
    ((name, text, waits),) = found(await stands(gather_of_three))

    assert name == "orchestration"
    assert text.startswith("await asyncio.gather(")
    assert waits == tuple(f"activity 'work' (event {number})" for number in (2, 3, 4))


async def test_a_gather_of_tasks_shows_each_task() -> None:
    main, *steps = found(await stands(gather_of_tasks))

    assert main[2] == tuple(f"task {name!r}" for name, _, _ in steps)
    assert [text for _, text, _ in steps] == [
        "await ctx.schedule_wait(name)  # each stands here"
    ] * 2
    assert [waits for _, _, waits in steps] == [("event 'x' (event 2)",), ("event 'y' (event 3)",)]


async def test_a_lock_is_named_at_the_line_that_wants_it() -> None:
    _, first, second = found(await stands(lock))

    assert first[1:] == (
        'await ctx.schedule_wait("go")  # the first stands here',
        ("event 'go' (event 2)",),
    )
    assert second[1:] == ("async with held:  # the second stands here", ("Lock.acquire",))


@pytest.mark.parametrize(
    ("orchestration", "text", "waits"),
    [
        (timer, "await asyncio.sleep(60)", "timer until "),
        (wait, 'await asyncio.shield(ctx.schedule_wait("go"))', "event 'go' (event 2)"),
        (child, "await ctx.schedule_sub_orchestration(wait", "child 'kid' (event 2)"),
        (retried, "await ctx.schedule_activity(refuse", "timer until "),
    ],
)
async def test_a_timer_a_wait_a_child_and_a_retry_are_found(orchestration, text, waits) -> None:
    ((name, line, awaited),) = found(await stands(orchestration))

    assert name == "orchestration"
    assert line.startswith(text)
    assert len(awaited) == 1
    assert awaited[0].startswith(waits)


async def test_what_cannot_be_located_says_why() -> None:
    with pytest.raises(InvalidInput, match="event 99 does not exist; there are 1 to 2"):
        await stands(wait, event=99)

    other = perdure.Registry()

    async with Stage(app) as stage:
        await stage.client.start_orchestration("i", wait)
        await stage.settle()
        events = await stage.client.read_execution_history("i", 1)
        with pytest.raises(InvalidInput, match=r"'wait' version 1\.0\.0 is not registered"):
            locate(events, other)
        await stage.client.terminate_instance("i")
        ended = locate(await stage.client.read_execution_history("i", 1), app)
        assert (ended.has_ended, ended.tasks) == (True, ())

    @other.orchestration(name="wait")
    async def edited(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_timer(5)

    assert "TimerCreated" in locate(events, other).disagreement
