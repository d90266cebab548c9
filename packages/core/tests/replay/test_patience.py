"""Work whose outcome is waited for when it is cancelled: nothing that took effect is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from perdure import ActivityFailed, Fixed, OrchestrationContext, Registry, RetryPolicy
from perdure.errors import InvalidInput
from perdure.history import ActivityCompleted, ActivityScheduled, TimerFired, WorkCancelled
from perdure.model.details import ApplicationFailure, Cancelled, Raised

from .driver import Answer, Restart, World, play_everywhere

app = Registry()
SECOND = timedelta(seconds=1)


@app.orchestration
async def pays(ctx: OrchestrationContext) -> str:
    """The pattern of the documents."""
    charging = ctx.schedule_activity("charge", cancellation="wait", result_type=str)
    try:
        receipt = await charging
        await ctx.schedule_activity("ship", receipt)
    except asyncio.CancelledError:
        await ctx.schedule_activity("refund", await charging)
        raise
    return receipt


@app.orchestration
async def retries(ctx: OrchestrationContext) -> str:
    policy = RetryPolicy(max_attempts=5, backoff=Fixed(SECOND))
    charging = ctx.schedule_activity("charge", cancellation="wait", retry=policy, result_type=str)
    try:
        return await charging
    except asyncio.CancelledError:
        await ctx.schedule_activity("refund", await charging)
        raise


@app.orchestration
async def in_a_timeout(ctx: OrchestrationContext) -> str:
    charging = ctx.schedule_activity("charge", cancellation="wait", result_type=str)
    try:
        async with asyncio.timeout(5):
            return await charging
    except TimeoutError:
        return f"late: {await charging}"


@app.orchestration
async def in_a_group(ctx: OrchestrationContext) -> str:
    charging = ctx.schedule_activity("charge", cancellation="wait", result_type=str)

    async def charge() -> None:
        await charging

    async def fail() -> None:
        await ctx.schedule_wait("fail")
        raise ValueError("no")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(charge())
            group.create_task(fail())
    except* ValueError:
        pass
    return f"failed, and {charging.result()}"


@app.orchestration
async def asks_itself(ctx: OrchestrationContext) -> str:
    charging = ctx.schedule_activity("charge", cancellation="wait", result_type=str)
    await ctx.schedule_wait("stop")
    charging.cancel()
    return await charging


@app.orchestration
async def at_once(ctx: OrchestrationContext) -> str:
    charging = ctx.schedule_activity("charge", cancellation="wait")
    charging.cancel()
    try:
        await charging
    except asyncio.CancelledError:
        return "cancelled"
    return "waited"


@app.orchestration
async def cancelled_while_ready(ctx: OrchestrationContext) -> str:
    charging = ctx.schedule_activity("charge", cancellation="wait", result_type=str)

    async def charge() -> str:
        return await charging

    await ctx.schedule_wait("stop")
    task = asyncio.create_task(charge())
    await asyncio.sleep(0)
    task.cancel()
    other = asyncio.create_task(charge())
    await asyncio.sleep(0)
    other.cancel("a reason")
    results = await asyncio.gather(task, other, return_exceptions=True)
    return f"{[type(result).__name__ for result in results]} {charging.result()}"


@app.orchestration
async def retries_and_tells(ctx: OrchestrationContext) -> None:
    policy = RetryPolicy(max_attempts=5, backoff=Fixed(SECOND))
    charging = ctx.schedule_activity("charge", cancellation="wait", retry=policy)
    try:
        await charging
    except asyncio.CancelledError:
        try:
            await charging
        except ActivityFailed as failed:  # it may have been booked all the same
            await ctx.schedule_activity("look", failed.type_name)
        raise


def fail_to_charge(name: str, *_: object) -> Answer:
    if name == "charge":
        return ApplicationFailure(Raised(type_name="Busy", message=""))
    return json.dumps("looked")


def answer(name: str, *_: object) -> Answer:
    return json.dumps(f"{name}d")


def make(name: str, restart: Restart = "cold") -> World:
    return World(app=app, name=name, restart=restart, answer_activity=answer)


def everywhere(name: str, begin: Callable[[World], object]) -> list[World]:
    """The same course with and without restarts, and its results in any order."""

    def start(world: World) -> None:
        world.start()
        begin(world)

    return play_everywhere(lambda mode: make(name, mode), start=start)


def names(world: World) -> list[str]:
    return [event.name for event in world.events(ActivityScheduled)]


def is_charged(world: World) -> bool:
    return any(event.scheduled == 2 for event in world.events(ActivityCompleted))


@pytest.mark.parametrize("early", [True, False], ids=["while it charges", "at any time"])
def test_a_cancelled_orchestration_learns_the_outcome_of_what_was_under_way(early: bool) -> None:
    def begin(world: World) -> None:
        message = world.cancel("enough")
        if early:
            world.deliver(message)

    worlds = everywhere("pays", begin)

    for world in worlds:
        # Not where the limit of the cleanup came first.
        assert ("refund" in names(world)) == is_charged(world)
        assert not early or "ship" not in names(world)
        assert world.failure == ApplicationFailure(Cancelled(reason="enough"))
    assert any(map(is_charged, worlds))


def test_the_activity_is_asked_to_end_in_each_turn_until_it_has() -> None:
    world = make("pays").start()
    world.deliver(world.cancel("enough"))
    assert world.drafts[-1].ending_activities == ["1:2"]
    assert world.drafts[-1].cancelled_activities == []
    world.deliver(world.raise_event("something"))
    assert world.drafts[-1].ending_activities == ["1:2"]

    world.deliver("charge")

    assert world.drafts[-1].ending_activities == []
    assert names(world) == ["charge", "refund"]


def test_a_failure_is_an_outcome_too() -> None:
    world = make("pays")
    world.answer_activity = lambda *_: ApplicationFailure(Raised(type_name="Refused", message=""))
    world.start()
    world.deliver(world.cancel("enough"))
    world.deliver("charge")

    assert names(world) == ["charge"]
    assert world.failure == ApplicationFailure(Cancelled(reason="enough"))


def test_the_wait_for_the_outcome_ends_with_the_cleanup_timeout() -> None:
    world = make("pays").start()
    world.deliver(world.cancel("enough"))
    world.deliver("timer")

    assert world.failure == ApplicationFailure(Cancelled(reason="enough"))
    assert len(world.events(TimerFired)) == 1
    assert names(world) == ["charge"]


def test_no_attempt_follows_the_one_that_was_under_way() -> None:
    world = make("retries")
    world.answer_activity = lambda *_: ApplicationFailure(Raised(type_name="Busy", message=""))
    world.start()
    world.deliver(world.cancel("enough"))
    world.deliver("charge")

    assert names(world) == ["charge"]
    assert world.failure == ApplicationFailure(Cancelled(reason="enough"))


def test_an_attempt_that_succeeds_after_the_cancellation_is_learned_of() -> None:
    worlds = everywhere("retries", lambda world: world.deliver(world.cancel("enough")))

    for world in worlds:
        assert ("refund" in names(world)) == is_charged(world)
        assert world.failure == ApplicationFailure(Cancelled(reason="enough"))
    assert any(map(is_charged, worlds))


def test_between_two_attempts_the_failure_of_the_last_one_is_the_outcome() -> None:
    modes: tuple[Restart, ...] = ("never", "cold", "evicted")
    worlds = [make("retries_and_tells", mode) for mode in modes]
    for world in worlds:
        world.answer_activity = fail_to_charge
        world.start()
        world.deliver("charge")
        world.deliver(world.cancel("enough"))

    for world in worlds:
        assert names(world) == ["charge", "look"]
        assert [event.input for event in world.events(ActivityScheduled)][1] == '"Busy"'
        assert not world.ended


def test_a_timeout_waits_for_the_outcome_and_goes_on() -> None:
    world = make("in_a_timeout").start()
    world.deliver("timer")
    assert not world.ended
    world.deliver("charge")

    assert world.output == '"late: charged"'


def test_a_task_group_waits_for_the_outcome() -> None:
    world = make("in_a_group").start()
    world.deliver(world.raise_event("fail"))
    assert not world.ended
    world.deliver("charge")

    assert world.output == '"failed, and charged"'


def test_who_cancels_the_future_itself_gets_the_outcome_alone() -> None:
    for world in everywhere("asks_itself", lambda world: world.raise_event("stop")):
        assert world.output == '"charged"'


def test_what_was_asked_for_in_the_same_step_is_cancelled_at_once() -> None:
    world = make("at_once").start()

    assert world.output == '"cancelled"'
    assert world.drafts[-1].activities == {}
    assert len(world.events(WorkCancelled)) == 1


@pytest.mark.parametrize("restart", ["never", "cold"])
def test_a_cancellation_that_comes_just_before_the_await_goes_on_after_it(restart: Restart) -> None:
    world = make("cancelled_while_ready", restart).start()
    world.deliver(world.raise_event("stop"))
    world.deliver("charge")

    assert world.output == "\"['CancelledError', 'CancelledError'] charged\""


def test_another_word_for_it_is_refused() -> None:
    words = Registry()

    @words.orchestration
    async def main(ctx: OrchestrationContext) -> None:
        with pytest.raises(InvalidInput, match='pass "drop" or "wait"'):
            ctx.schedule_activity("charge", cancellation="later")  # type: ignore[call-overload]

    assert World(app=words, name="main").start().output == "null"


def test_the_error_of_an_outcome_is_in_the_future() -> None:
    found = Registry()

    @found.orchestration
    async def main(ctx: OrchestrationContext) -> None:
        charging = ctx.schedule_activity("charge", cancellation="wait")
        try:
            await charging
        except asyncio.CancelledError:
            assert isinstance(charging.exception(), ActivityFailed)
            await ctx.schedule_activity("note it")
            raise

    world = World(
        app=found,
        name="main",
        restart="cold",
        answer_activity=lambda *_: ApplicationFailure(Raised(type_name="Refused", message="")),
    ).start()
    world.deliver(world.cancel("enough"))
    world.deliver("charge")

    assert names(world) == ["charge", "note it"]
