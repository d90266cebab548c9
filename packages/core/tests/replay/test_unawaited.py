"""Work that an orchestration schedules, never awaits, and drops by its end."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from perdure import Fixed, OrchestrationContext, Registry, RetryPolicy
from perdure.model.details import ApplicationFailure, Raised

from .driver import Answer, Restart, World

Flow = Callable[[OrchestrationContext], Awaitable[Any]]
RETRY = RetryPolicy(max_attempts=3, backoff=Fixed(timedelta(hours=1)))
FAILED = ApplicationFailure(Raised(type_name="ValueError", message="no"))


async def activity(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("mail", "ada")


async def activity_under_a_policy(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("mail", "ada", retry=RETRY)


async def attempt_between_waits(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("fails", retry=RETRY)
    await ctx.schedule_activity("first")
    await ctx.schedule_activity("second")


async def child(ctx: OrchestrationContext) -> None:
    ctx.schedule_sub_orchestration("report", instance="r")
    await ctx.schedule_activity("first")


async def timer(ctx: OrchestrationContext) -> None:
    ctx.schedule_timer(60)


async def wait(ctx: OrchestrationContext) -> None:
    ctx.schedule_wait("go")


async def a_task_that_nothing_awaits(ctx: OrchestrationContext) -> None:
    async def send() -> None:
        await ctx.schedule_activity("mail")

    asyncio.create_task(send())  # noqa: RUF006 # what is tested
    await ctx.schedule_activity("first")


async def before_the_next_execution(ctx: OrchestrationContext) -> None:
    if ctx.execution == 1:
        ctx.schedule_activity("mail")
        ctx.continue_as_new()


FORGOTTEN: list[tuple[Flow, str]] = [
    (activity, "activity 'mail'"),
    (activity_under_a_policy, "activity 'mail'"),
    (attempt_between_waits, "activity 'fails'"),
    (child, "sub-orchestration 'report' ('r')"),
    (timer, "a timer"),
    (wait, "the wait for event 'go'"),
    (a_task_that_nothing_awaits, "activity 'mail'"),
    (before_the_next_execution, "activity 'mail'"),
]


async def ended(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("first")
    await ctx.schedule_activity("second")


async def cancelled(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("mail", retry=RETRY).cancel()
    ctx.schedule_activity("mail").cancel()


async def lost_a_race(ctx: OrchestrationContext) -> None:
    slow, under_policy = ctx.schedule_activity("mail"), ctx.schedule_activity("mail", retry=RETRY)
    await asyncio.wait(
        [slow, under_policy, ctx.schedule_activity("first"), asyncio.create_task(_one(ctx))],
        return_when=asyncio.FIRST_COMPLETED,
    )


async def _one(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("mail")


async def shielded_in_vain(ctx: OrchestrationContext) -> None:
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(ctx.schedule_activity("mail"))
    except TimeoutError:
        return


async def awaited_by_a_task_that_was_awaited(ctx: OrchestrationContext) -> None:
    task = asyncio.create_task(_one(ctx))
    await asyncio.wait([task], timeout=1)


async def sleeping_task(ctx: OrchestrationContext) -> None:
    asyncio.create_task(asyncio.sleep(3600))  # noqa: RUF006 # what is tested
    await ctx.schedule_activity("first")


async def fails(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("mail")
    raise ValueError("no")


def answer(name: str, *_: object) -> Answer:
    return FAILED if name == "fails" else json.dumps(name)


def world_of(flow: Flow, restart: Restart) -> World:
    app = Registry()
    app.orchestration(name="subject")(flow)
    return World(app=app, name="subject", restart=restart, answer_activity=answer)


def play_to_the_end(world: World) -> list[str]:
    """Answer all but the mail, and say what was told."""
    world.start()
    for label in ("fails", "first", "second", "timer"):
        if any(waiting.startswith(f"{label}#") for waiting in world.labels):
            world.deliver(label)
    return [what for draft in world.drafts for what in draft.unawaited]


@pytest.mark.parametrize("restart", ["never", "cold"])
@pytest.mark.parametrize(
    ("flow", "what"), FORGOTTEN, ids=lambda case: getattr(case, "__name__", "")
)
def test_work_that_was_never_awaited_is_told_once(flow: Flow, what: str, restart: Restart) -> None:
    assert play_to_the_end(world_of(flow, restart)) == [what]


@pytest.mark.parametrize("restart", ["never", "cold"])
@pytest.mark.parametrize(
    "flow",
    [
        ended,
        cancelled,
        lost_a_race,
        shielded_in_vain,
        awaited_by_a_task_that_was_awaited,
        sleeping_task,
        fails,
    ],
)
def test_what_was_awaited_or_has_ended_is_not_told(flow: Flow, restart: Restart) -> None:
    world = world_of(flow, restart)

    assert play_to_the_end(world) == []
    assert world.drafts[-1].end is not None


# Outcomes that were to be waited for


async def gathered_with_one_that_fails(ctx: OrchestrationContext) -> None:
    await asyncio.gather(
        ctx.schedule_activity("mail", cancellation="wait"), ctx.schedule_activity("fails")
    )


async def under_a_policy(ctx: OrchestrationContext) -> None:
    mail = ctx.schedule_activity("mail", retry=RETRY, cancellation="wait")
    await asyncio.wait([mail, ctx.schedule_activity("first")], return_when="FIRST_COMPLETED")


async def cancelled_and_left(ctx: OrchestrationContext) -> None:
    mail = ctx.schedule_activity("mail", cancellation="wait")
    await asyncio.wait([mail, ctx.schedule_activity("first")], return_when="FIRST_COMPLETED")
    mail.cancel()


@pytest.mark.parametrize("restart", ["never", "cold"])
@pytest.mark.parametrize("flow", [gathered_with_one_that_fails, under_a_policy, cancelled_and_left])
def test_an_end_that_drops_an_outcome_which_was_to_be_waited_for_is_told(
    flow: Flow, restart: Restart
) -> None:
    world = world_of(flow, restart)

    assert play_to_the_end(world) == []
    assert [what for draft in world.drafts for what in draft.dropped] == ["activity 'mail'"]


async def waited_for(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("first", cancellation="wait")
    await ctx.schedule_activity("second", retry=RETRY, cancellation="wait")


@pytest.mark.parametrize("flow", [waited_for, activity])
def test_an_outcome_that_came_or_was_never_awaited_is_not_told_so(flow: Flow) -> None:
    world = world_of(flow, "never")

    play_to_the_end(world)

    assert [what for draft in world.drafts for what in draft.dropped] == []


# Exceptions of tasks


async def _bad() -> None:
    raise RuntimeError("nothing looks")


async def at_once(ctx: OrchestrationContext) -> None:
    asyncio.create_task(_bad())  # noqa: RUF006 # what is tested
    await ctx.schedule_activity("first")
    await ctx.schedule_activity("second")


async def held_to_the_end(ctx: OrchestrationContext) -> None:
    task = asyncio.create_task(_bad())
    await ctx.schedule_activity("first")
    await ctx.schedule_activity("second")
    del task


async def held_by_one_that_fails(ctx: OrchestrationContext) -> None:
    task = asyncio.create_task(_bad())
    await ctx.schedule_activity("first")
    raise ValueError(task.get_name())


async def among_many(ctx: OrchestrationContext) -> None:
    tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(200)]
    tasks.append(asyncio.create_task(_bad()))
    await ctx.schedule_activity("first")
    del tasks


@pytest.fixture(autouse=True)
def _nothing_of_earlier_tests(caplog: pytest.LogCaptureFixture) -> None:
    """What those have left is collected, and has told what it tells of its own tasks."""
    gc.collect()
    caplog.clear()


@pytest.mark.parametrize("restart", ["never", "cold", "evicted"])
@pytest.mark.parametrize("flow", [at_once, held_to_the_end, held_by_one_that_fails, among_many])
def test_an_exception_that_was_never_awaited_is_told_once(
    flow: Flow, restart: Restart, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_of(flow, restart)

    play_to_the_end(world)
    world.forget()
    del world
    gc.collect()

    (record,) = caplog.records
    assert record.name == "perdure.orchestration.subject"
    assert "was never awaited" in record.getMessage()
    assert "RuntimeError" in str(record.exc_info)


def test_an_exception_is_told_when_nothing_can_await_it_any_more_and_not_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = world_of(at_once, "never").start()

    assert len(caplog.records) == 1
    assert world.drafts[-1].end is None
    world.discard()


async def awaited_late(ctx: OrchestrationContext) -> str:
    task = asyncio.create_task(_bad())
    await ctx.schedule_activity("first")
    await ctx.schedule_activity("second")
    return type((await asyncio.gather(task, return_exceptions=True))[0]).__name__


@pytest.mark.parametrize("restart", ["never", "cold", "evicted"])
def test_an_exception_that_is_awaited_late_is_not_told(
    restart: Restart, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_of(awaited_late, restart)

    play_to_the_end(world)

    assert world.output == '"RuntimeError"'
    assert not caplog.records


def test_a_task_that_nothing_awaits_while_it_sleeps_is_no_mistake() -> None:
    assert play_to_the_end(world_of(sleeping_task, "never")) == []
