"""Rewound executions and forks: they begin with a history, and go on as if they had written it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from perdure import ActivityFailed, OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.history import (
    ActivityCompleted,
    ActivityScheduled,
    ChildScheduled,
    Event,
    EventRaised,
    OrchestrationStarted,
)
from perdure.model.details import ApplicationFailure, Raised
from perdure.records.cuts import cut_before_failure
from perdure.replay.signals import HistoryMismatch
from perdure.replay.turn import TurnDraft

from .driver import Answer, World, play

app = Registry()
NO = ApplicationFailure(Raised(type_name="ValueError", message="no"))


@app.activity
async def book(what: str) -> str:
    return what


@app.orchestration
async def trip(ctx: OrchestrationContext) -> list[Any]:
    """Books a flight and a hotel, and waits for the traveller in between."""
    chance = [ctx.random().random(), str(ctx.uuid4())]
    flight = await ctx.schedule_activity(book, "flight")
    word = await ctx.schedule_wait("go", str)
    hotel = await ctx.schedule_activity(book, "hotel")
    return [flight, word, hotel, *chance, str(ctx.uuid4())]


@app.orchestration
async def at_once(ctx: OrchestrationContext) -> list[Any]:
    """Has an activity, a timer and a child under way together."""
    child = ctx.schedule_sub_orchestration("trip", instance=f"{ctx.instance}-child")
    default = ctx.schedule_sub_orchestration("trip")
    activity = ctx.schedule_activity(book, "flight")
    await asyncio.sleep(60)
    return [await child, await default, await activity]


def keys(draft: TurnDraft, execution: int) -> dict[str, tuple[int, int]]:
    """What the idempotency keys of the added activities derive from, by their input."""
    return {
        activity.data.input: (activity.data.origin or execution, activity.data.first)
        for activity in draft.activities.values()
    }


def without_start(events: list[Event]) -> list[Event]:
    return events[1:]


def world_of_trip() -> World:
    return play(World(app=app, name="trip").start())


def test_a_rewound_execution_keeps_the_events_up_to_the_cut_and_says_so() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"now"'))
    before = list(world.history)

    world.rewind(3)

    started = world.history[0]
    assert isinstance(started, OrchestrationStarted)
    assert started.copied_from is not None
    assert (started.copied_from.execution, started.copied_from.event) == (1, 3)
    assert started.copied_from.reason == "a test"
    assert (started.at, started.input) == (before[0].at, "null")
    assert world.history[1:3] == before[1:3]
    assert world.histories[0] == before
    world.discard()


def test_what_is_open_at_the_cut_is_scheduled_again_under_the_key_that_it_had() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"now"'))

    world.rewind(2)
    assert keys(world.drafts[-1], 2) == {'"flight"': (1, 2)}
    play(world)

    assert keys(world.drafts[-1], 2) == {}
    assert world.ended
    hotel = next(keys(draft, 2) for draft in world.drafts[::-1] if draft.activities)
    assert hotel == {'"hotel"': (2, 6)}


def test_keys_stay_over_any_number_of_rewinds() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"now"'))
    world.deliver("book#6")
    for _ in range(3):
        world.rewind(6)
        assert keys(world.drafts[-1], len(world.histories)) == {'"hotel"': (1, 6)}
    world.rewind(5)
    again = keys(world.drafts[-1], 5)
    world.rewind(6)

    assert again == {'"hotel"': (5, 6)}
    assert keys(world.drafts[-1], 6) == {'"hotel"': (5, 6)}
    world.discard()


def test_events_behind_the_cut_are_delivered_again_ahead_of_newer_ones() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"first"'))
    world.raise_event("go", '"second"')

    world.rewind(4)
    play(world)

    assert [event.data for event in world.history if isinstance(event, EventRaised)] == [
        '"first"',
        '"second"',
    ]
    assert world.output.startswith('["flight","first","hotel"')


def test_an_event_in_the_kept_part_is_not_delivered_again() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"first"'))
    world.deliver("book#6")

    world.rewind(6)

    assert world.labels == ["book#6"]
    world.discard()


def test_the_kept_part_and_what_follows_have_the_same_random_numbers() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"now"'))
    world.deliver("book#6")
    first = world.output

    world.rewind(1)
    play(world)

    assert world.output == first


def test_a_fork_repeats_the_kept_part_and_draws_its_own_random_numbers_behind_it() -> None:
    world = world_of_trip()
    world.deliver(world.raise_event("go", '"now"'))
    world.deliver("book#6")
    before = [list(events) for events in world.histories]

    fork = play(world.fork(6))
    again = play(world.fork(6))

    first, other = json.loads(world.output), json.loads(fork.output)
    assert first[:5] == other[:5]
    assert first[5] != other[5]
    assert fork.output == again.output
    assert world.histories == before


def test_the_activities_of_a_fork_have_keys_of_their_own() -> None:
    world = world_of_trip()
    fork = world.fork(2)

    (activity,) = fork.drafts[0].activities.values()
    assert activity.data.origin is None
    assert fork.incarnation != world.incarnation
    for one in (world, fork):
        one.discard()


def test_a_cut_at_an_incoming_event_answers_it_with_the_code_of_today() -> None:
    world = world_of_trip()
    repaired = Registry()
    repaired.activity(book)

    @repaired.orchestration(name="trip")
    async def other(ctx: OrchestrationContext) -> list[Any]:
        ctx.random()
        flight = await ctx.schedule_activity(book, "flight")
        return [flight, await ctx.schedule_activity(book, "train")]

    world.catalog = Catalog([repaired])
    play(world.rewind(3))

    assert world.output == '["flight","train"]'


def test_code_that_disagrees_with_the_kept_part_is_refused() -> None:
    world = world_of_trip()
    edited = Registry()
    edited.activity(book)

    @edited.orchestration(name="trip")
    async def other(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("go", str)

    world.catalog = Catalog([edited])

    with pytest.raises(HistoryMismatch, match="WaitCreated"):
        world.rewind(3)


def test_work_of_every_kind_that_is_open_at_the_cut_goes_on() -> None:
    world = World(app=app, name="at_once", answer_child=lambda _: '"done"').start()
    world.deliver("book#4")
    world.rewind(5)

    draft = world.drafts[-1]
    assert sorted(draft.activities) == [4]
    assert sorted(draft.timers) == [5]
    assert not draft.children
    assert sorted(world.labels) == ["book#4", "child#2", "child#3", "timer#5"]
    assert play(world).output == '["done","done","flight"]'


def test_a_child_is_known_by_the_execution_that_first_started_it() -> None:
    world = World(app=app, name="at_once", answer_child=lambda _: '"done"').start()
    first = {child.instance.incarnation for child in world.drafts[0].children.values()}
    world.rewind(5)

    assert {child.instance.incarnation for child in world.execution.kept_children.values()} == first
    world.rewind(1)

    again = world.drafts[-1].children.values()
    assert not first & {child.instance.incarnation for child in again}
    assert [child.instance.parent.execution for child in again if child.instance.parent] == [3, 3]
    world.discard()


def test_a_fork_starts_the_open_children_under_the_ids_that_its_code_asks_for() -> None:
    world = World(app=app, name="at_once").start()
    fork = world.fork(5)

    children = [child.instance.instance for child in fork.drafts[0].children.values()]
    assert children == ["fork-child", "fork::1.3"]
    assert [event.instance for event in fork.events(ChildScheduled)] == children
    fork.forget()
    for one in (world, fork):
        one.discard()


def test_a_failed_activity_runs_again_after_a_retry() -> None:
    answers: list[Answer] = [NO, '"flight"']
    world = World(app=app, name="trip", answer_activity=lambda _n, _i, _a: answers.pop(0)).start()
    play(world)
    assert world.failure.is_a(ActivityFailed)

    world.rewind(cut_before_failure(world.history))
    world.deliver("book#2")

    assert [type(event) for event in world.history] == [
        OrchestrationStarted,
        ActivityScheduled,
        ActivityCompleted,
        *[type(event) for event in world.history[3:]],
    ]
    assert keys(world.drafts[-2], 2) == {'"flight"': (1, 2)}
    world.discard()
