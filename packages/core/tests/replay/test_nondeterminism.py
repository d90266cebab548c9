"""Code that disagrees with its history is found at the first command that differs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from perdure import OrchestrationContext, Registry
from perdure.history import Event, OrchestrationFailed, TimerCreated
from perdure.model.details import ApplicationFailure, Poisoned
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.signals import HistoryMismatch, UndecodableData

from .driver import World, play

Function = Callable[[OrchestrationContext], Awaitable[object]]


def world_of(function: Function) -> World:
    app = Registry()
    app.orchestration(name="subject", version="2.1.0")(function)
    return World(app=app, name="subject", answer_activity=lambda name, text, attempt: text)


def mismatch(written_by: Function, read_by: Function, deliveries: int = 1) -> HistoryMismatch:
    """What the second function is told about the history that the first one wrote."""
    world = world_of(written_by).start()
    for _ in range(deliveries):
        world.deliver(world.waiting[0])
    world.app = world_of(read_by).app
    world.catalog = world_of(read_by).catalog
    with pytest.raises(HistoryMismatch) as caught:
        world.forget()
    world.discard()
    return caught.value


async def original(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("first", "secret")
    await ctx.schedule_activity("second", 2)
    await ctx.schedule_wait("end")


def test_another_name_is_found_with_the_event_both_sides_and_the_line() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("first", "secret")
        await ctx.schedule_activity("third", 2)

    error = mismatch(original, edited)

    line = edited.__code__.co_firstlineno + 2
    assert error.event_id == 4
    assert error.expected.startswith("ActivityScheduled(name='second', input #")
    assert error.found.startswith("ActivityScheduled(name='third', input #")
    assert error.where == f"{__name__}:{line} in edited"
    assert str(error) == (
        f"event 4 of instance 'instance': the history has {error.expected}, and the code of"
        f" 'subject' version 2.1.0 asked for {error.found} at {error.where}; undo the edit, or"
        " register the edited code under a new version; where nothing was edited, look at that"
        " line for what differs from run to run, such as a clock or the order of a set"
    )


def test_another_kind_of_command_is_found() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        await asyncio.sleep(1)

    error = mismatch(original, edited, deliveries=0)

    assert error.found.startswith("TimerCreated(fire_at=")
    assert " in edited" in error.where


def test_a_command_that_the_history_does_not_have_is_found() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("first", "secret")
        ctx.schedule_activity("more")

    error = mismatch(original, edited, deliveries=0)

    assert error.event_id == 3
    assert error.expected == "nothing"


def test_a_command_that_the_code_does_not_ask_for_is_found() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("first", "secret")
        await asyncio.get_running_loop().create_future()

    error = mismatch(original, edited)

    assert error.event_id == 4
    assert error.found == "nothing"
    assert error.where == ""


def test_an_end_that_comes_too_early_is_found() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("first", "secret")

    error = mismatch(original, edited)

    assert error.found.startswith("OrchestrationCompleted(output #")


def test_both_versions_of_python_are_named_when_they_differ() -> None:
    world = world_of(original)
    world.python = "3.9"
    world.start()

    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("other")

    world.forget()  # another version alone is no reason to complain
    world.catalog = world_of(edited).catalog
    with pytest.raises(HistoryMismatch) as caught:
        world.forget()
    world.discard()
    assert f"; the history began on Python 3.9, this is {PYTHON};" in str(caught.value)


def test_nothing_that_the_code_does_after_the_difference_has_an_effect() -> None:
    seen: list[str] = []

    async def edited(ctx: OrchestrationContext) -> None:
        try:
            ctx.schedule_activity("third")
            seen.append("went on")
            ctx.logger.warning("not to be told")
            await ctx.schedule_activity("fourth")
        finally:
            ctx.schedule_activity("cleanup")

    error = mismatch(original, edited, deliveries=0)

    assert error.event_id == 2
    assert seen == ["went on"]


def test_code_that_catches_everything_does_not_hide_the_difference() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("third")
        except BaseException:  # noqa: BLE001 # an orchestration that catches too much
            await ctx.schedule_activity("first", "secret")

    assert mismatch(original, edited, deliveries=0).event_id == 2


def test_an_edit_that_asks_for_the_same_is_no_difference() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        for name, value in (("first", "secret"), ("second", 2)):
            ctx.logger.info("now %s", name)
            await ctx.schedule_activity(name, value)
        await ctx.schedule_wait("end")

    world = world_of(original).start()
    world.deliver("first")
    world.catalog = world_of(edited).catalog
    world.forget()
    world.deliver("second")
    world.deliver(world.raise_event("end"))

    assert world.output == "null"


# Histories that are not whole


def rebuild(world: World, events: list[Event]) -> Execution:
    definition = world.catalog.orchestration("subject", None)
    assert definition is not None
    return Execution.rebuild(
        events, definition, world.catalog, cleanup_timeout=world.cleanup_timeout
    )


def test_a_history_without_its_start_cannot_be_decoded() -> None:
    world = world_of(original).start()
    with pytest.raises(UndecodableData, match="does not begin with OrchestrationStarted"):
        rebuild(world, world.history[1:])
    with pytest.raises(UndecodableData, match="does not begin"):
        rebuild(world, [])
    world.discard()


def test_a_history_with_a_gap_cannot_be_decoded() -> None:
    world = world_of(original).start()
    world.deliver("first")
    events = world.history
    with pytest.raises(UndecodableData, match="has event 4 where 3 is due"):
        rebuild(world, [*events[:2], events[3]])
    world.discard()


def test_events_after_the_end_are_found() -> None:
    world = play(world_of(quick))
    last = world.history[-1]
    with pytest.raises(HistoryMismatch, match="asked for nothing"):
        rebuild(world, [*world.history, replace(last, event_id=last.event_id + 1)])


async def quick(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity("first", "a")


def test_an_end_that_the_runtime_decided_replays() -> None:
    world = world_of(quick).start()
    world.execution.fail(ApplicationFailure(Poisoned(work="turn", attempts=3)))
    world.commit()  # which replays the whole history

    assert isinstance(world.terminal, OrchestrationFailed)


def test_the_words_of_an_error_may_change_and_its_type_may_not() -> None:
    async def fails(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("first")
        raise ValueError(f"object at {id(ctx)}")

    async def fails_otherwise(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("first")
        raise KeyError("x")

    world = play(world_of_allowed(fails))
    other = world_of(fails_otherwise)
    with pytest.raises(HistoryMismatch, match=r"OrchestrationFailed\(KeyError\)"):
        rebuild(other, world.history)
    # The first had another address in its message when the end was replayed.
    assert isinstance(world.terminal, OrchestrationFailed)


def world_of_allowed(function: Function) -> World:
    app = Registry()
    app.orchestration(name="subject", allow=["builtins.id"])(function)
    return World(app=app, name="subject", answer_activity=lambda name, text, attempt: text)


def test_a_gather_of_a_wait_for_orders_its_commands_as_the_python_version_does() -> None:
    async def mixed(ctx: OrchestrationContext) -> None:
        async def scheduled(name: str) -> None:
            await ctx.schedule_activity(name)

        await asyncio.gather(asyncio.wait_for(scheduled("a"), 5), scheduled("b"))

    world = world_of(mixed).start()
    names = [event.name for event in world.history if hasattr(event, "name")][1:]

    assert names == (["b", "a"] if PYTHON == "3.11" else ["a", "b"])
    assert len(world.events(TimerCreated)) == 1
    world.discard()


def test_the_place_names_a_module_and_no_path() -> None:
    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("other")

    assert str(Path(__file__).parent) not in str(mismatch(original, edited, deliveries=0))
