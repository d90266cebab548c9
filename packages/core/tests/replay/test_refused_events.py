"""An event that does not fit its wait is consumed and told, and the wait goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from perdure import InvalidInput, InvalidPayload, OrchestrationContext, Registry
from perdure.history import (
    EventRefused,
    OrchestrationFailed,
    WaitCreated,
    WorkCancelled,
    decode_event,
    encode_event,
)
from perdure.replay.signals import HistoryMismatch

from .driver import Restart, World, play_everywhere

Function = Callable[[OrchestrationContext], Awaitable[object]]


def world_of(function: Function, restart: Restart = "never") -> World:
    app = Registry()
    app.orchestration(name="subject")(function)
    return World(app=app, name="subject", restart=restart)


async def decide(ctx: OrchestrationContext) -> bool:
    return await ctx.schedule_wait("decision", bool)


async def decide_or_raise(ctx: OrchestrationContext) -> bool:
    return await ctx.schedule_wait("decision", bool, on_invalid="raise")


async def anything(ctx: OrchestrationContext) -> object:
    return await ctx.schedule_wait("decision")


def test_the_wait_goes_on_and_the_event_is_told_in_history_and_turn() -> None:
    world = world_of(decide).start()
    world.deliver(world.raise_event("decision", '{"ok": true}'))

    assert world.events(EventRefused)[0].reason == "Input should be a valid boolean"
    (unfit,) = world.drafts[-1].unfit
    assert (unfit.name, unfit.event_id) == ("decision", "e1")
    world.forget()
    world.deliver(world.raise_event("decision", "true"))

    assert world.output == "true"
    assert len(world.events(EventRefused)) == 1


def test_kept_events_that_do_not_fit_are_passed_over_in_order() -> None:
    async def later(ctx: OrchestrationContext) -> list[bool]:
        await ctx.schedule_timer(1)
        return [await ctx.schedule_wait("decision", bool) for _ in range(2)]

    def make(restart: Restart) -> World:
        return world_of(later, restart)

    def raise_all(world: World) -> None:
        for data in ('"a"', "true", '"b"', "[]", "false"):
            world.raise_event("decision", data)

    for world in play_everywhere(make, start=raise_all):
        assert sorted(json.loads(world.output)) == [False, True]
        for refused in world.events(EventRefused):
            assert isinstance(world.history[refused.wait - 1], WaitCreated)


def test_an_event_that_does_not_fit_is_not_offered_to_another_wait() -> None:
    async def two(ctx: OrchestrationContext) -> list[object]:
        first = ctx.schedule_wait("decision", bool)
        second = ctx.schedule_wait("decision", str)
        return [await second, await first]

    world = world_of(two).start()
    world.deliver(world.raise_event("decision", '"text"'))
    world.deliver(world.raise_event("decision", "true"))
    world.deliver(world.raise_event("decision", '"again"'))

    assert world.output == '["again",true]'


def test_what_was_refused_counts_as_seen_and_is_not_carried_over() -> None:
    async def again(ctx: OrchestrationContext) -> bool:
        found = await ctx.schedule_wait("decision", bool)
        if ctx.execution == 1:
            ctx.continue_as_new()
        return found

    world = world_of(again).start()
    world.deliver(world.raise_event("decision", '"bad"', id="bad"))
    world.deliver(world.raise_event("decision", "false", id="good"))
    assert world.labels == []

    again_raised = world.raise_event("decision", "true", id="bad")
    assert world.deliver(again_raised) == [False]
    world.deliver(world.raise_event("decision", "true", id="new"))
    assert world.output == "true"


def test_a_wait_that_refused_can_still_be_cancelled() -> None:
    async def limited(ctx: OrchestrationContext) -> str:
        try:
            return await asyncio.wait_for(ctx.schedule_wait("decision", str), 5)
        except TimeoutError:
            return "no answer"

    world = world_of(limited).start()
    world.deliver(world.raise_event("decision", "1"))
    world.deliver("timer")

    assert world.output == '"no answer"'
    assert world.events(WorkCancelled)[0].scheduled == world.events(WaitCreated)[0].event_id


def test_a_wait_may_ask_for_the_error_instead() -> None:
    world = world_of(decide_or_raise).start()
    world.deliver(world.raise_event("decision", '"bad"'))

    assert world.failure.type_name == "InvalidPayload"
    assert world.events(EventRefused) == []
    assert world.drafts[-1].unfit == []


def test_an_unknown_choice_is_refused() -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_wait("decision", on_invalid="skip")  # pyright: ignore[reportCallIssue, reportArgumentType] # what a checker refuses
        except InvalidInput as error:
            return str(error)
        return "?"

    assert 'pass \\"wait\\" or \\"raise\\"' in world_of(wrong).start().output


# What the history says counts


def test_a_refusal_stands_when_the_edited_type_would_fit() -> None:
    world = world_of(decide).start()
    world.deliver(world.raise_event("decision", '"yes, please"'))

    world.catalog = world_of(anything).catalog
    world.forget()
    world.deliver(world.raise_event("decision", '"now"'))

    assert world.output == '"now"'


def test_an_event_that_was_accepted_is_not_refused_by_an_edited_type() -> None:
    async def accepts(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("decision")
        await ctx.schedule_wait("more")

    async def narrowed(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_wait("decision", bool)
        except InvalidPayload:
            await ctx.schedule_wait("more")
            return "raised"
        return "?"

    world = world_of(accepts).start()
    world.deliver(world.raise_event("decision", '"text"'))

    world.catalog = world_of(narrowed).catalog
    world.forget()
    world.deliver(world.raise_event("more"))

    assert world.output == '"raised"'


def test_a_history_in_which_an_unfit_event_ended_the_instance_still_agrees() -> None:
    world = world_of(decide_or_raise).start()
    world.deliver(world.raise_event("decision", '"bad"'))

    world.catalog = world_of(decide).catalog
    again = world.rebuilt()
    again.discard()

    assert isinstance(again.terminal, OrchestrationFailed)


def test_a_refusal_of_a_wait_that_the_code_no_longer_makes_is_found() -> None:
    async def without(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("other")

    world = world_of(decide).start()
    world.deliver(world.raise_event("decision", '"bad"'))

    world.catalog = world_of(without).catalog
    with pytest.raises(HistoryMismatch):
        world.forget()
    world.discard()


def test_a_refusal_is_found_among_commands_in_another_order() -> None:
    def waiting(first: int, second: int) -> Function:
        async def wait(ctx: OrchestrationContext) -> bool:
            timers = [ctx.schedule_timer(60) for _ in range(2)]
            await ctx.schedule_wait("go")
            timers[first].cancel()
            found = ctx.schedule_wait("decision", bool)
            timers[second].cancel()
            return await found

        return wait

    world = world_of(waiting(0, 1)).start()
    world.deliver(world.raise_event("decision", '"bad"'))
    world.deliver(world.raise_event("go"))

    world.catalog = world_of(waiting(1, 0)).catalog
    world.forget()
    world.deliver(world.raise_event("decision", "true"))

    assert world.output == "true"


def test_the_refusal_survives_its_encoding() -> None:
    event = EventRefused(event_id=4, at=1, event=3, wait=2, reason="too short")

    assert decode_event(4, encode_event(event)) == event
