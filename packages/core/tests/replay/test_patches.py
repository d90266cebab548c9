"""Patches: decided where an execution comes to them first, recorded once, compared in replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from perdure import ForbiddenInOrchestration, InvalidIdentifier, OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.history import PatchApplied
from perdure.records.limits import ENGINE, ENGINE_WITH_PATCHES, FIRST_ENGINE
from perdure.replay.signals import HistoryMismatch

from .driver import World, play, play_everywhere

Flow = Callable[[OrchestrationContext], Awaitable[object]]


def catalog_of(flow: Flow) -> Catalog:
    return Catalog([app_of(flow)])


def app_of(flow: Flow) -> Registry:
    app = Registry()
    app.orchestration(name="flow")(flow)
    return app


def world_of(flow: Flow) -> World:
    return World(app=app_of(flow), name="flow", answer_activity=lambda name, text, attempt: text)


def deploy(world: World, flow: Flow) -> None:
    """The code is another one from now on, and the execution is rebuilt with it."""
    world.catalog = catalog_of(flow)
    world.forget()


def patches(world: World) -> list[tuple[int, str, bool]]:
    return [
        (event.event_id, event.name, event.deprecated)
        for event in world.history
        if isinstance(event, PatchApplied)
    ]


async def before(ctx: OrchestrationContext) -> object:
    await ctx.schedule_activity("first", 1)
    await ctx.schedule_activity("pay", 2)
    return await ctx.schedule_wait("end")


async def patched(ctx: OrchestrationContext) -> object:
    await ctx.schedule_activity("first", 1)
    if ctx.patched("add-check"):
        await ctx.schedule_activity("check", 2)
    await ctx.schedule_activity("pay", 2)
    return await ctx.schedule_wait("end")


async def deprecated(ctx: OrchestrationContext) -> object:
    await ctx.schedule_activity("first", 1)
    ctx.deprecate_patch("add-check")
    await ctx.schedule_activity("check", 2)
    await ctx.schedule_activity("pay", 2)
    return await ctx.schedule_wait("end")


async def cleaned(ctx: OrchestrationContext) -> object:
    await ctx.schedule_activity("first", 1)
    await ctx.schedule_activity("check", 2)
    await ctx.schedule_activity("pay", 2)
    return await ctx.schedule_wait("end")


def test_an_execution_that_begins_after_the_patch_takes_it_and_records_it_once() -> None:
    def start(world: World) -> None:
        world.raise_event("end", "1")

    async def asks_often(ctx: OrchestrationContext) -> list[bool]:
        asked = [ctx.patched("p"), ctx.patched("p")]
        await ctx.schedule_wait("end")
        return [*asked, ctx.patched("p")]

    for world in play_everywhere(
        lambda mode: replace(world_of(asks_often), restart=mode), start=start
    ):
        assert patches(world) == [(2, "p", False)]
        assert world.output == "[true,true,true]"


def test_an_execution_that_came_to_the_call_before_the_patch_goes_on_without_it() -> None:
    world = world_of(before).start()
    world.deliver("first#2")

    deploy(world, patched)
    world.deliver("pay#4")

    assert patches(world) == []
    assert world.labels == []
    world.forget()
    world.discard()


def test_an_execution_that_comes_to_the_call_after_the_patch_takes_it() -> None:
    world = world_of(before).start()

    deploy(world, patched)
    world.deliver("first#2")

    assert patches(world) == [(4, "add-check", False)]
    assert world.labels == ["check#5"]
    world.forget()
    world.deliver("check#5")
    world.forget()
    world.discard()


async def loops_before(ctx: OrchestrationContext) -> None:
    while True:
        await ctx.schedule_wait("go")
        await ctx.schedule_activity("old")


async def loops_patched(ctx: OrchestrationContext) -> None:
    while True:
        await ctx.schedule_wait("go")
        await ctx.schedule_activity("new" if ctx.patched("other-step") else "old")


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_loop_keeps_the_answer_that_it_got_first(rounds: int) -> None:
    world = world_of(loops_before).start()

    def round_with(name: str) -> None:
        world.raise_event("go", "1")
        world.deliver(world.waiting[0])
        (label,) = world.labels
        assert label.startswith(name)
        world.deliver(label)

    for _ in range(rounds):
        round_with("old")
    deploy(world, loops_patched)
    for _ in range(3):
        round_with("old" if rounds else "new")
        world.forget()

    assert len(patches(world)) == (0 if rounds else 1)
    world.discard()


def test_code_without_the_call_disagrees_with_an_execution_that_took_the_patch() -> None:
    async def only_patched(ctx: OrchestrationContext) -> None:
        ctx.patched("p")
        await ctx.schedule_wait("end")

    async def without(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("end")

    world = world_of(only_patched).start()
    with pytest.raises(HistoryMismatch) as caught:
        deploy(world, without)

    assert caught.value.expected == "PatchApplied(name='p', deprecated=False)"
    assert caught.value.found == "nothing"
    world.discard()


def test_a_call_that_moves_behind_a_command_of_its_step_agrees() -> None:
    async def first(ctx: OrchestrationContext) -> None:
        ctx.patched("p")
        ctx.schedule_activity("a")
        await ctx.schedule_wait("end")

    async def second(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("a")
        assert ctx.patched("p")
        await ctx.schedule_wait("end")

    world = world_of(first).start()
    deploy(world, second)

    assert world.execution.last_event == 4
    world.discard()


def test_the_code_of_a_deprecated_patch_agrees_with_an_execution_that_took_it() -> None:
    world = world_of(patched).start()
    world.deliver("first#2")

    deploy(world, deprecated)
    world.deliver("check#5")
    world.deliver("pay#7")
    world.forget()
    world.discard()


@pytest.mark.parametrize("later", [patched, deprecated, cleaned])
def test_an_execution_that_began_with_the_deprecated_patch_agrees_with_the_code_before_and_after_it(
    later: Flow,
) -> None:
    world = world_of(deprecated).start()
    world.deliver("first#2")
    assert patches(world) == [(4, "add-check", True)]

    deploy(world, later)
    assert world.execution.last_event == len(world.history)
    world.deliver("check#5")
    world.deliver("pay#7")
    world.raise_event("end", "1")
    play(world)

    numbers = [event.event_id for event in world.history]
    assert numbers == list(range(1, len(numbers) + 1))
    assert world.ended


def test_a_deprecated_patch_at_the_end_of_a_step_is_passed_and_the_numbers_go_on() -> None:
    async def with_it(ctx: OrchestrationContext) -> str:
        child = ctx.schedule_sub_orchestration("child")
        await ctx.schedule_wait("go")
        ctx.deprecate_patch("p")
        return await child

    async def without_it(ctx: OrchestrationContext) -> str:
        child = ctx.schedule_sub_orchestration("child")
        await ctx.schedule_wait("go")
        return await child

    world = world_of(with_it).start()
    world.raise_event("go", "1")
    world.deliver(world.waiting[-1])
    assert patches(world) == [(5, "p", True)]

    deploy(world, without_it)
    play(world)

    assert [event.event_id for event in world.history] == [1, 2, 3, 4, 5, 6, 7]


def test_the_turn_that_records_a_patch_asks_for_an_engine_that_knows_it() -> None:
    world = world_of(patched).start()
    world.deliver("first#2")
    world.deliver("check#5")

    assert [draft.engine for draft in world.drafts] == [None, ENGINE_WITH_PATCHES, None]
    assert FIRST_ENGINE < ENGINE_WITH_PATCHES <= ENGINE
    world.discard()


def test_the_name_of_a_patch_is_checked() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        try:
            ctx.patched("")
        except InvalidIdentifier as error:
            return str(error)
        return ""

    world = world_of(flow).start()

    assert "patch name '' is empty" in world.output


def test_a_patch_is_asked_only_in_the_code_of_its_orchestration() -> None:
    kept: list[OrchestrationContext] = []

    async def flow(ctx: OrchestrationContext) -> None:
        kept.append(ctx)
        await asyncio.sleep(1)

    world = world_of(flow).start()

    with pytest.raises(ForbiddenInOrchestration, match=r"ctx\.patched was called outside"):
        kept[0].patched("p")
    world.discard()
