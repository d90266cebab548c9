"""Custom status, values, polled and raised events: what a turn sets, and the same in every replay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from perdure import InvalidInput, InvalidPayload, OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.errors import CapabilityMissing
from perdure.history import (
    ActivityCompleted,
    EventPolled,
    EventRefused,
    EventSent,
    OrchestrationStarted,
    ValueSet,
)
from perdure.model.values import LARGEST_VALUE, MOST_VALUES
from perdure.model.wire import decode_raised, decode_result, encode_result
from perdure.records.limits import ENGINE_WITH_RECOVERY, VALUES
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.signals import HistoryMismatch
from perdure.replay.surroundings import Surroundings
from perdure.replay.turn import TurnDraft

from .driver import BEGINNING, MINUTES, World, play, play_everywhere

app = Registry()


@app.activity
async def work(what: str) -> str:
    return what


@app.orchestration
async def counts(ctx: OrchestrationContext, left: int) -> list[Any]:
    """Counts its executions in a value that they hand on."""
    done = ctx.get_value("done", int) or 0
    ctx.set_value("done", done + 1)
    ctx.set_status({"left": left})
    await ctx.schedule_activity(work, "a")
    if left:
        ctx.set_value(f"step{left}", left)
        ctx.continue_as_new(left - 1)
    ctx.delete_value("step2")
    return [ctx.get_value("done"), ctx.values(), ctx.get_value("none")]


@app.orchestration
async def polls(ctx: OrchestrationContext) -> list[Any]:
    found: list[Any] = [ctx.poll_event("x", int)]
    await ctx.schedule_activity(work, "a")
    found.append(ctx.poll_event("x", int))
    found.append(ctx.poll_event("x", int))
    return found


@app.orchestration
async def streams(ctx: OrchestrationContext) -> list[str]:
    seen: list[str] = []
    async for word in ctx.events("word", str):
        if word == "end":
            break
        seen.append(await ctx.schedule_activity(work, word))
    return [*seen, str(ctx.poll_event("word"))]


@app.orchestration
async def tells(ctx: OrchestrationContext) -> str:
    ctx.raise_event("other", "news", {"a": 1})
    ctx.raise_event(ctx.instance, "own", "mine")
    return await ctx.schedule_wait("own", str)


def engines(drafts: list[TurnDraft]) -> list[int | None]:
    return [draft.engine for draft in drafts]


def test_values_are_handed_on_and_are_the_same_in_every_replay() -> None:
    for world in play_everywhere(
        lambda restart: World(app=app, name="counts", input="2", restart=restart)
    ):
        assert world.output == '[3,{"done":3,"step1":1},null]'
        assert world.values == {"done": "3", "step1": "1"}
        assert world.status == '{"left":0}'


def test_only_turns_that_set_something_ask_for_a_newer_engine() -> None:
    world = play(World(app=app, name="polls").start())
    plain = play(World(app=app, name="counts", input="0").start())

    assert set(engines(world.drafts)) == {ENGINE_WITH_RECOVERY}
    assert set(engines(plain.drafts)) == {ENGINE_WITH_RECOVERY}
    assert all(not draft.values and draft.custom_status is None for draft in world.drafts)


def test_the_result_of_a_later_delivery_is_recorded_as_such_and_asks_for_a_newer_engine() -> None:
    plain = Registry()
    plain.activity(work)

    @plain.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(work, "a")

    world = World(app=plain, name="flow").start()
    [waiting] = world.waiting
    result = replace(decode_result(waiting.message.data), delivery=2)
    waiting.message = replace(waiting.message, data=encode_result(result))
    world.deliver(waiting)

    assert engines(world.drafts) == [None, ENGINE_WITH_RECOVERY]
    assert [event.delivery for event in world.events(ActivityCompleted)] == [2]
    assert world.output == '"a"'


def test_the_newest_status_and_value_of_a_turn_count() -> None:
    registry = Registry()

    @registry.orchestration
    async def flow(ctx: OrchestrationContext) -> None:
        ctx.set_value("a", 1)
        ctx.set_status("one")
        ctx.set_value("a", 2)
        ctx.delete_value("b")
        ctx.set_status("two")

    (draft,) = play(World(app=registry, name="flow")).drafts
    assert draft.custom_status == b'"two"'
    assert draft.values == {"a": b"2", "b": None}


def test_the_first_change_of_an_inherited_value_records_what_it_was() -> None:
    world = play(World(app=app, name="counts", input="1"))

    sets = [(event.key, event.value, event.previous) for event in world.events(ValueSet)]
    assert sets == [
        ("done", "1", None),
        ("step1", "1", None),
        ("done", "2", "1"),
        ("step2", None, None),
    ]


def test_a_rewind_restores_values_and_status() -> None:
    world = play(World(app=app, name="counts", input="1"))
    assert world.values == {"done": "2", "step1": "1"}

    world.rewind(3, execution=1)

    assert world.values == {"done": "1"}
    assert world.status == '{"left":1}'
    assert play(world).output == '[2,{"done":2,"step1":1},null]'


def test_a_fork_has_the_values_of_its_source_at_the_cut() -> None:
    world = play(World(app=app, name="counts", input="1"))

    fork = world.fork(4)

    assert fork.values == {"done": "2", "step1": "1"}
    assert play(fork).output == world.output


def test_what_is_too_large_or_too_much_is_refused_before_it_is_recorded() -> None:
    registry = Registry()
    refused: list[str] = []

    @registry.orchestration
    async def flow(ctx: OrchestrationContext) -> None:
        def attempt(what: Any, *args: object) -> None:
            try:
                what(*args)
            except InvalidInput as error:
                refused.append(str(error))

        attempt(ctx.set_status, "x" * LARGEST_VALUE)
        attempt(ctx.set_value, "a", "x" * LARGEST_VALUE)
        attempt(ctx.set_value, "", 1)
        attempt(ctx.set_value, "k" * 513, 1)
        attempt(ctx.get_value, "\udc80")
        for number in range(MOST_VALUES):
            ctx.set_value(f"{number}", number)
        attempt(ctx.set_value, "one more", 1)
        ctx.set_value("0", "again")
        ctx.delete_value("0")
        ctx.set_value("one more", 1)

    world = play(World(app=registry, name="flow"))
    assert refused[:6] == refused[6:]  # live, and in a replay
    assert f"has {MOST_VALUES} values" in refused[-1]
    assert len(world.values) == MOST_VALUES
    assert [event.key for event in world.events(ValueSet) if event.refused] == ["one more"]


def test_a_value_that_does_not_fit_its_type_is_told_where_it_is_read() -> None:
    registry = Registry()

    @registry.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        ctx.set_value("a", "text")
        try:
            ctx.get_value("a", int)
        except InvalidPayload as error:
            return str(error)
        return ""

    assert "value 'a'" in play(World(app=registry, name="flow")).output


def test_a_provider_without_values_is_told_before_anything_is_recorded() -> None:
    registry = Registry()

    @registry.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        try:
            ctx.set_status("a")
        except CapabilityMissing as error:
            return error.capability
        return ""

    definition = Catalog([registry]).orchestration("flow", None)
    assert definition is not None
    started = OrchestrationStarted(
        event_id=1,
        at=BEGINNING,
        instance="a",
        incarnation="b",
        execution=1,
        name="flow",
        version="1.0.0",
        input="null",
        python=PYTHON,
        engine=1,
    )
    execution = Execution.begin(
        started,
        definition,
        Catalog([registry]),
        cleanup_timeout=MINUTES,
        surroundings=Surroundings(capabilities=frozenset(), provider="old"),
    )

    draft = execution.take_turn()
    assert [event.kind for event in draft.events] == [
        "OrchestrationStarted",
        "OrchestrationCompleted",
    ]
    assert draft.end is not None
    assert draft.end.output == f'"{VALUES}"'.encode()
    execution.discard()


def test_a_value_under_another_key_disagrees_with_the_history() -> None:
    world = World(app=app, name="counts", input="0").start()
    edited = Registry()
    edited.activity(work)

    @edited.orchestration(name="counts")
    async def other(ctx: OrchestrationContext, left: int) -> None:
        ctx.get_value("done")
        ctx.set_value("other", left)

    world.catalog = Catalog([edited])
    with pytest.raises(HistoryMismatch, match="key='other'"):
        world.rebuilt()
    world.discard()


def test_a_poll_takes_what_is_there_and_refuses_what_does_not_fit() -> None:
    def raise_all(world: World) -> None:
        world.raise_event("x", '"text"')
        world.raise_event("x", "7")

    for world in play_everywhere(
        lambda restart: World(app=app, name="polls", restart=restart), start=raise_all
    ):
        taken = [event.event for event in world.events(EventPolled)]
        assert taken[0] is None
        assert world.output.count("7") == len([each for each in taken if each is not None])
        assert len(world.events(EventRefused)) <= 1
    world = World(app=app, name="polls").start()
    world.deliver(world.raise_event("x", '"text"'), world.raise_event("x", "7"))
    world.deliver("work")
    assert world.output == "[null,7,null]"
    assert [event.kind for event in world.history[6:9]] == [
        "EventPolled",
        "EventRefused",
        "EventPolled",
    ]


def test_events_come_one_after_the_other_and_leaving_the_loop_leaves_no_wait() -> None:
    def raise_all(world: World) -> None:
        for word in ("a", "b", "end", "after"):
            world.raise_event("word", f'"{word}"')

    live = play_everywhere(
        lambda restart: World(app=app, name="streams", restart=restart), start=raise_all, orders=1
    )
    assert live[0].output == '["a","b","after"]'


def test_a_raised_event_is_sent_with_the_turn_once() -> None:
    for world in play_everywhere(lambda restart: World(app=app, name="tells", restart=restart)):
        assert world.output == '"mine"'
        other = [message for message in world.events_sent if message.instance == "other"]
        assert [decode_raised(message.data).data for message in other] == ['{"a":1}']
        assert len({message.id for message in world.events_sent}) == 2
        assert len(world.events(EventSent)) == 2


def test_events_raised_in_the_kept_part_of_a_rewind_are_not_sent_again() -> None:
    world = World(app=app, name="tells").start()
    world.rewind(4)

    assert len(world.events_sent) == 2
    world.discard()
