"""Values that differ from the history: the recorded ones count, and the place is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from perdure import Fixed, InvalidInput, OrchestrationContext, Registry, RetryPolicy
from perdure.history import (
    ActivityScheduled,
    ChildScheduled,
    Event,
    OrchestrationCompleted,
    OrchestrationStarted,
    TimerCreated,
    decode_event,
    encode_event,
)
from perdure.model.comparison import Compare
from perdure.model.details import ApplicationFailure, Raised
from perdure.replay.execution import Execution
from perdure.replay.signals import HistoryMismatch

from .driver import World, play

Function = Callable[[OrchestrationContext], Awaitable[object]]
FAILURE = ApplicationFailure(Raised(type_name="E", message=""))


def fail(name: str, text: str, attempt: int) -> ApplicationFailure:
    return FAILURE


def world_of(function: Function, **settings: Any) -> World:
    app = Registry()
    app.orchestration(name="subject", **settings)(function)
    return World(app=app, name="subject", answer_activity=lambda name, text, attempt: text)


def deploy(world: World, function: Function, **settings: Any) -> list[str]:
    """Go on with this code instead; returns the values that differ."""
    world.catalog = world_of(function, **settings).catalog
    world.forget()
    return [str(one) for one in world.execution.differences]


@contextmanager
def parked(world: World) -> Generator[pytest.ExceptionInfo[HistoryMismatch]]:
    with pytest.raises(HistoryMismatch) as caught:
        yield caught
    world.discard()


def asking(value: object, **options: Any) -> Function:
    """Asks for one activity with this input, and returns its result."""

    async def ask(ctx: OrchestrationContext) -> object:
        return await ctx.schedule_activity("work", value, **options)

    return ask


# The recorded one counts


def test_the_recorded_input_counts_and_the_path_is_told_without_the_value() -> None:
    world = world_of(asking({"to": "ada", "created": "secret"})).start()

    told = deploy(world, asking({"to": "ada", "created": "hidden"}))

    assert told == ["input $.created of ActivityScheduled 'work'"]
    assert play(world).output == '{"to":"ada","created":"secret"}'


@pytest.mark.parametrize(
    ("recorded", "asked", "paths"),
    [
        ({"messages": ["a", "b"]}, {"messages": ["x", "b"]}, ["$.messages[0]"]),
        ([1, [2, 3]], [1, [2, 4]], ["$[1][1]"]),
        ([1], [1, 2], ["$[1]"]),
        ([1, 2], [1], ["$[1]"]),
        ({"a": 1}, {"b": 1}, ["$.a", "$.b"]),
        ({"a b": 1}, {"a b": 2}, ['$["a b"]']),
        ({"k" * 100: 1}, {"k" * 100: 2}, [f'$["{"k" * 57}..."]']),
        ("a", "b", ["$"]),
        (1, True, ["$"]),
        (None, {}, ["$"]),
        ([0] * 9, [1] * 9, [f"$[{place}]" for place in range(5)]),
    ],
)
def test_the_path_is_that_of_the_innermost_difference(
    recorded: object, asked: object, paths: list[str]
) -> None:
    world = world_of(asking(recorded)).start()

    told = deploy(world, asking(asked))
    world.discard()

    assert told == [f"input {path} of ActivityScheduled 'work'" for path in paths]


def test_the_order_of_keys_is_no_difference() -> None:
    world = world_of(asking({"a": 1, "b": 2}), compare="strict").start()

    assert deploy(world, asking({"b": 2, "a": 1}), compare="strict") == []
    world.discard()


def test_a_place_that_differs_in_many_requests_is_told_once() -> None:
    def chat(prompt: str) -> Function:
        async def ask(ctx: OrchestrationContext) -> None:
            for number in range(4):
                await ctx.schedule_activity("model", [prompt, number])

        return ask

    world = world_of(chat("be nice")).start()
    for _ in range(3):
        world.deliver("model")

    assert deploy(world, chat("be very nice")) == ["input $[0] of ActivityScheduled 'model'"]
    assert world.execution.differences[0].event_id == 2
    world.discard()


def test_the_recorded_tag_counts_for_further_attempts_too() -> None:
    policy = RetryPolicy(backoff=Fixed(timedelta(seconds=1)))
    world = world_of(asking("old", tag="gpu", retry=policy))
    world.answer_activity = fail
    world.start()

    told = deploy(world, asking("new", tag="cpu", retry=policy))
    world.deliver("work")
    world.deliver("timer")

    assert told == [
        "input $ of ActivityScheduled 'work'",
        "tag $ of ActivityScheduled 'work'",
    ]
    second = world.events(ActivityScheduled)[1]
    assert (second.attempt, second.input, second.tag) == (2, '"old"', "gpu")
    (queued,) = world.drafts[-1].activities.values()
    assert queued.data.input == '"old"'
    world.discard()


def test_the_recorded_due_time_counts() -> None:
    def sleeping(seconds: float) -> Function:
        async def sleeper(ctx: OrchestrationContext) -> int:
            began = ctx.now()
            await asyncio.sleep(seconds)
            return (ctx.now() - began).seconds

        return sleeper

    world = world_of(sleeping(5)).start()

    told = deploy(world, sleeping(60))

    assert told == ["fire_at $ of TimerCreated"]
    assert play(world).output == "5"


def test_the_recorded_version_of_a_child_counts() -> None:
    def parent(version: str, value: str) -> Function:
        async def asking(ctx: OrchestrationContext) -> object:
            ctx.schedule_orchestration("child", value, version=version)
            return await ctx.schedule_sub_orchestration("child", value, version=version)

        return asking

    world = world_of(parent("1.0.0", "old")).start()

    told = deploy(world, parent("2.0.0", "new"))

    assert told == [
        f"{field} $ of {kind} 'child'"
        for kind in ("DetachedScheduled", "ChildScheduled")
        for field in ("input", "version")
    ]
    assert play(world).output == '"old"'


def test_an_output_that_differs_is_told() -> None:
    world = play(world_of(asking("a")))
    last = world.history[-1]
    assert isinstance(last, OrchestrationCompleted)

    world.histories[-1][-1] = replace(last, output='"b"')
    again = world.rebuilt()
    again.discard()

    assert [str(one) for one in again.differences] == ["output $ of OrchestrationCompleted"]
    assert again.terminal == world.history[-1]


# Retry policies


def retrying(policy: RetryPolicy | None) -> Function:
    async def ask(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("work", retry=policy)
        except Exception as error:  # noqa: BLE001 # whatever comes of it
            return type(error).__name__
        return "done"

    return ask


def failing(policy: RetryPolicy | None) -> World:
    world = world_of(retrying(policy))
    world.answer_activity = fail
    return world


SECOND = timedelta(seconds=1)
FIVE = RetryPolicy(max_attempts=5, backoff=Fixed(SECOND))


@pytest.mark.parametrize(
    ("edited", "told"),
    [
        (RetryPolicy(max_attempts=2, backoff=Fixed(SECOND)), ["$.max_attempts"]),
        (RetryPolicy(max_attempts=5, backoff=Fixed(2 * SECOND)), ["$.backoff.interval"]),
        (
            RetryPolicy(max_attempts=5, backoff=Fixed(SECOND), attempt_timeout=SECOND),
            ["$.attempt_timeout"],
        ),
        (
            RetryPolicy(max_attempts=5, backoff=Fixed(SECOND), retry_if=lambda _: False),
            ["$.retry_if"],
        ),
        (None, ["$"]),
    ],
)
def test_the_recorded_policy_counts_for_what_was_scheduled(
    edited: RetryPolicy | None, told: list[str]
) -> None:
    world = failing(FIVE).start()
    world.deliver("work")

    assert deploy(world, retrying(edited)) == [
        f"retry {path} of ActivityScheduled 'work'" for path in told
    ]

    play(world)
    assert [one.attempt for one in world.events(ActivityScheduled)] == [1, 2, 3, 4, 5]
    starts = [one.at for one in world.events(TimerCreated)]
    assert [
        one.fire_at - at for one, at in zip(world.events(TimerCreated), starts, strict=True)
    ] == [1_000_000] * 4


def test_a_policy_that_was_added_holds_for_what_is_scheduled_from_then_on() -> None:
    world = failing(None).start()

    told = deploy(world, retrying(FIVE))

    assert told == ["retry $ of ActivityScheduled 'work'"]
    assert play(world).output == '"ActivityFailed"'
    assert len(world.events(ActivityScheduled)) == 1


def test_functions_of_a_policy_are_code() -> None:
    class Backoff:
        def delay(self, attempt: int, random: object) -> timedelta:
            return attempt * SECOND

    def policy(attempts: int) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=attempts, backoff=Backoff(), retry_if=lambda error: error.type_name == "E"
        )

    world = failing(policy(3)).start()

    assert deploy(world, retrying(policy(9))) == [
        "retry $.max_attempts of ActivityScheduled 'work'"
    ]
    play(world)
    assert len(world.events(ActivityScheduled)) == 3


def test_a_history_of_the_first_format_goes_on_under_the_policy_of_the_code() -> None:
    world = failing(FIVE)
    world.begin()
    world.execution.discard()
    started = world.execution.started
    plain = json.loads(encode_event(started))
    del plain["format"]
    old = decode_event(1, json.dumps(plain).encode())
    assert isinstance(old, OrchestrationStarted)
    assert old.format == 1
    definition = world.catalog.orchestration("subject", None)
    assert definition is not None
    world.execution = Execution.begin(
        old, definition, world.catalog, cleanup_timeout=world.cleanup_timeout
    )
    world.commit()
    assert world.events(ActivityScheduled)[0].retry is None

    assert deploy(world, retrying(RetryPolicy(max_attempts=3, backoff=Fixed(SECOND)))) == []
    play(world)
    assert len(world.events(ActivityScheduled)) == 3


# What order has no effect


def test_cancellations_are_compared_as_a_set() -> None:
    def cancelling(first: int, second: int, late: bool) -> Function:
        async def cancel(ctx: OrchestrationContext) -> None:
            timers = [ctx.schedule_timer(60) for _ in range(2)]
            await ctx.schedule_wait("go")
            timers[first].cancel()
            if late:
                ctx.schedule_activity("next")
            timers[second].cancel()
            if not late:
                ctx.schedule_activity("next")
            await ctx.schedule_wait("end")

        return cancel

    world = world_of(cancelling(0, 1, late=False)).start()
    world.deliver(world.raise_event("go"))

    for code in (cancelling(1, 0, late=False), cancelling(1, 0, late=True)):
        assert deploy(world, code, compare="strict") == []
    world.deliver("next")
    world.deliver(world.raise_event("end"))
    assert world.ended


def test_a_cancellation_that_is_missing_is_found() -> None:
    def cancelling(*which: int) -> Function:
        async def cancel(ctx: OrchestrationContext) -> None:
            timers = [ctx.schedule_timer(60) for _ in range(3)]
            await ctx.schedule_wait("go")
            for one in which:
                timers[one].cancel()
            await ctx.schedule_wait("end")

        return cancel

    world = world_of(cancelling(0, 1)).start()
    world.deliver(world.raise_event("go"))

    world.catalog = world_of(cancelling(1)).catalog
    with pytest.raises(HistoryMismatch) as missing:
        world.forget()
    assert (missing.value.event_id, missing.value.found) == (7, "nothing")
    world.catalog = world_of(cancelling(1, 2)).catalog
    with parked(world) as other:
        world.forget()
    assert other.value.found == "WorkCancelled(scheduled=4)"


def test_requests_for_the_same_thing_keep_their_own_answers_in_another_order() -> None:
    def fan_out(names: str) -> Function:
        async def ask(ctx: OrchestrationContext) -> dict[str, str]:
            futures = {name: ctx.schedule_activity("work", name) for name in names}
            children = {name: ctx.schedule_sub_orchestration("child", name) for name in names}
            await asyncio.gather(*futures.values(), *children.values())
            return {
                name: f"{futures[name].result()}{children[name].result()}" for name in sorted(names)
            }

        return ask

    for order in ("bca", "cba", "acb"):
        world = world_of(fan_out("abc")).start()
        world.deliver("work")
        told = deploy(world, fan_out(order), compare="strict")

        assert told == []
        assert play(world).output == '{"a":"aa","b":"bb","c":"cc"}'


def test_an_edit_among_requests_in_another_order_is_one_difference() -> None:
    def fan_out(*names: str) -> Function:
        async def ask(ctx: OrchestrationContext) -> list[str]:
            return await asyncio.gather(*(ctx.schedule_activity("work", name) for name in names))

        return ask

    world = world_of(fan_out("a", "b", "c")).start()

    assert deploy(world, fan_out("c", "b", "edited")) == ["input $ of ActivityScheduled 'work'"]
    assert play(world).output == '["c","b","a"]'


def test_requests_for_different_things_keep_their_order() -> None:
    def fan_out(*names: str) -> Function:
        async def ask(ctx: OrchestrationContext) -> None:
            await asyncio.gather(*(ctx.schedule_activity(name) for name in names))

        return ask

    world = world_of(fan_out("a", "b")).start()

    with parked(world) as caught:
        deploy(world, fan_out("b", "a"))
    assert caught.value.event_id == 2


@pytest.mark.slow
def test_a_large_run_in_another_order_is_compared_in_time() -> None:
    def fan_out(values: range) -> Function:
        async def ask(ctx: OrchestrationContext) -> None:
            futures = [ctx.schedule_activity("work", value) for value in values]
            await asyncio.wait(futures)

        return ask

    world = world_of(fan_out(range(20_000))).start()

    assert deploy(world, fan_out(range(19_999, -1, -1)), compare="strict") == []
    assert len(deploy(world, fan_out(range(1, 20_001)))) == 1
    world.discard()


# Settings


def test_strict_parks_and_names_the_path_and_the_line() -> None:
    world = world_of(asking({"created": "secret"})).start()

    with parked(world) as caught:
        deploy(world, asking({"created": "hidden"}), compare="strict")

    text = str(caught.value)
    assert caught.value.event_id == 2
    assert " in ask, which differs in input at $.created; make the value the same" in text
    assert "secret" not in text
    assert "hidden" not in text


def test_ignore_is_silent() -> None:
    world = world_of(asking("a")).start()

    assert deploy(world, asking("b"), compare="ignore") == []
    assert play(world).output == '"a"'


@pytest.mark.parametrize(
    ("activity", "orchestration", "runtime", "counts"),
    [
        (None, None, "strict", "strict"),
        (None, "warn", "strict", "warn"),
        ("ignore", "strict", "strict", "ignore"),
        ("strict", "ignore", "warn", "strict"),
        (None, "strict", "warn", "strict"),
        ("warn", "strict", "ignore", "warn"),
    ],
)
def test_the_most_specific_setting_counts(
    activity: Compare | None, orchestration: Compare | None, runtime: Compare, counts: Compare
) -> None:
    world = world_of(asking("a")).start()
    app = Registry()
    app.orchestration(name="subject", compare=orchestration)(asking("b"))

    @app.activity(compare=activity)
    async def work(text: str) -> str:
        return text

    world.app = app
    world.__post_init__()
    definition = world.catalog.orchestration("subject", None)
    assert definition is not None

    def rebuild() -> Execution:
        return Execution.rebuild(
            world.history,
            definition,
            world.catalog,
            cleanup_timeout=world.cleanup_timeout,
            compare=runtime,
        )

    if counts == "strict":
        with parked(world):
            rebuild()
    else:
        execution = rebuild()
        assert len(execution.differences) == (counts == "warn")
        execution.discard()
        world.discard()


def test_an_unknown_setting_is_refused_where_it_is_made() -> None:
    app = Registry()

    async def work() -> None: ...

    with pytest.raises(InvalidInput, match='"strict", "warn" or "ignore"'):
        app.activity(compare="loose")(work)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownMemberType, reportUntypedFunctionDecorator] # what a checker refuses
    with pytest.raises(InvalidInput, match="'loose' is unknown"):
        app.orchestration(compare="loose")(asking(1))  # pyright: ignore[reportCallIssue, reportArgumentType] # as above


def kinds(world: World) -> list[type[Event]]:
    return [type(event) for event in world.history]


def test_a_child_under_another_id_is_another_child() -> None:
    def parent(instance: str | None) -> Function:
        async def ask(ctx: OrchestrationContext) -> None:
            await ctx.schedule_sub_orchestration("child", instance=instance)

        return ask

    world = world_of(parent("one")).start()
    assert kinds(world)[1] is ChildScheduled

    for other in ("two", None):
        world.catalog = world_of(parent(other)).catalog
        with pytest.raises(HistoryMismatch):
            world.forget()
    world.discard()
