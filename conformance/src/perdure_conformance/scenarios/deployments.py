"""Deployments: edited code, and another version of Python."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions, WaitTimeout
from perdure.contract import ActivityRequest, TurnCommit
from perdure.errors import SubOrchestrationFailed
from perdure.history import ChildFailed, OrchestrationStarted, WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled
from perdure.observe import InstanceParked, ValueDiffered
from perdure.records.limits import ENGINE_WITH_PATCHES

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.parking import until_parked
from perdure_conformance.scenarios.simulation import SELDOM, SOON, Simulation, scenario

_PYTHON = re.compile(rb'"python":"[^"]*"')


def activities() -> Registry:
    """The activities of all versions of the code."""
    app = Registry()

    @app.activity
    async def old(text: str) -> str:
        return text

    @app.activity
    async def new(text: str) -> str:
        return text

    return app


def asking_for(activity: str, text: str) -> Registry:
    """Code that runs an activity, waits for an event and returns the activity's result."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        first = await ctx.schedule_activity(activity, text, result_type=str)
        await ctx.schedule_wait("go")
        return first

    return app


def original() -> Registry:
    """The code as it was deployed first."""
    return asking_for("old", "secret")


def renamed() -> Registry:
    """The same, but for the activity's name."""
    return asking_for("new", "secret")


def altered() -> Registry:
    """The same, but for the activity's input."""
    return asking_for("old", "other")


def reordered() -> Registry:
    """The same in another order."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        await ctx.schedule_wait("go")
        return await ctx.schedule_activity("old", "secret", result_type=str)

    return app


@scenario("SCENARIO-27")
async def edited_code_parks_its_instances(simulation: Simulation) -> None:
    """An instance whose code was edited so that it asks for other things than its history has, or in another order, is parked: its status and WaitTimeout name the event, what the history has, what the code asked for, and the source line; its history is unharmed, and it goes on when fitting code is deployed."""
    client = simulation.client
    node = await simulation.node(original())
    await client.start_orchestration("alpha", "flow")
    await simulation.until_recorded("alpha", WaitCreated)
    await node.stop()
    before = await simulation.history("alpha")
    await client.raise_event("alpha", "go")
    for edited, found in (
        (renamed, "ActivityScheduled(name='new'"),
        (reordered, "WaitCreated(name='go')"),
    ):
        node = await simulation.node(edited())
        seen = len(simulation.observer.saw(InstanceParked))
        await simulation.until(
            lambda s=seen: len(simulation.observer.saw(InstanceParked)) > s, "a new mark"
        )
        mark = await until_parked(simulation, "alpha")
        expect_equal(mark.reason, "nondeterminism", "the reason")
        what = "event 2 of instance 'alpha': the history has ActivityScheduled(name='old'"
        expect(mark.details.startswith(what), f"the details begin otherwise: {mark.details}")
        expect(found in mark.details.partition("asked for")[2], f"not {found}: {mark.details}")
        expect("secret" not in mark.details, f"the details show the input: {mark.details}")
        place = re.search(r"deployments:(\d+) in flow", mark.details)
        expect(place is not None, f"the details name no source line: {mark.details}")
        with expect_refusal(WaitTimeout, "waiting for a parked instance") as refusal:
            waiting = client.wait_for_orchestration("alpha", timedelta(seconds=5))
            await simulation.run(waiting, "the wait")
        expect("nondeterminism" in str(refusal.error), f"WaitTimeout says {refusal.error}")
        expect_equal(await simulation.history("alpha"), before, "the history")
        await node.stop()
    await simulation.node(original())
    took = await simulation.until(
        lambda: simulation.have_ended("alpha"), "the end with fitting code"
    )
    expect(took <= timedelta(seconds=30) + SOON, f"it went on after {took}")
    expect_equal(await simulation.output("alpha"), "secret", "output")


@scenario("SCENARIO-27a")
async def a_value_that_differs_is_told_and_the_recorded_one_counts(simulation: Simulation) -> None:
    """An instance whose code was edited so that it asks with another value than its history has goes on with the recorded one; observers are told once of the place, however often it is rebuilt, and never of the value."""
    client = simulation.client
    node = await simulation.node(original())
    for name in ("alpha", "beta"):
        await client.start_orchestration(name, "flow")
        await simulation.until_recorded(name, WaitCreated)
    await node.stop()
    await simulation.node(altered(), options=RuntimeOptions(cache_size=0))
    for _ in range(3):
        await client.raise_event("alpha", "other")
        await simulation.pass_time(SOON)
    await client.raise_event("alpha", "go")
    expect_equal(await simulation.output("alpha"), "secret", "output")
    told = [event for event in simulation.observer.saw(ValueDiffered) if event.instance == "alpha"]
    places = [(event.event, event.kind, event.name, event.field, event.path) for event in told]
    expect_equal(
        places, [(2, "ActivityScheduled", "old", "input", "$")], "the observed differences"
    )
    expect("secret" not in str(told) and "other" not in str(told), f"the value is shown: {told}")


@scenario("SCENARIO-27b")
async def a_value_that_differs_parks_where_that_is_asked_for(simulation: Simulation) -> None:
    """With `compare="strict"` an instance whose code asks with another value than its history has is parked, and its details name the place and not the value; with fitting code it goes on."""
    client = simulation.client
    node = await simulation.node(original())
    await client.start_orchestration("alpha", "flow")
    await simulation.until_recorded("alpha", WaitCreated)
    await node.stop()
    await client.raise_event("alpha", "go")
    node = await simulation.node(altered(), options=RuntimeOptions(compare="strict"))
    mark = await until_parked(simulation, "alpha")
    expect_equal(mark.reason, "nondeterminism", "the reason")
    expect("differs in input at $;" in mark.details, f"no place in the details: {mark.details}")
    expect("secret" not in mark.details, f"the details show the input: {mark.details}")
    await node.stop()
    await simulation.node(original(), options=RuntimeOptions(compare="strict"))
    expect_equal(await simulation.output("alpha"), "secret", "output")


@scenario("SCENARIO-27c")
async def a_parked_instance_can_be_cancelled(simulation: Simulation) -> None:
    """An instance that disagrees with its history ends as cancelled when it is cancelled, without its code: its activities are void, its children are cancelled, its parent is told once."""
    client = simulation.client
    node = await simulation.node(family())
    await client.start_orchestration("parent", "parent")
    await simulation.until_recorded("child", WaitCreated)
    await simulation.until_recorded("grandchild", WaitCreated)
    await node.stop()
    await client.raise_event("child", "go")
    await simulation.node(family(edited=True))
    mark = await until_parked(simulation, "child")
    expect_equal(mark.reason, "nondeterminism", "the reason")
    before = await simulation.history("child")
    await client.cancel_instance("child", "give up")
    expected = ApplicationFailure(Cancelled(reason="give up"))
    expect_equal(await simulation.failure("child"), expected, "how it ended")
    expect_equal(await simulation.output("parent"), "canceled: give up", "what the parent got")
    kind = (await simulation.failure("grandchild")).kind
    expect(isinstance(kind, Cancelled), f"the grandchild ended as {kind!r}")
    history = await simulation.history("child")
    expect_equal(history[:-1], before, "the history, but for its end")
    expect_equal(len(await simulation.recorded("parent", ChildFailed)), 1, "answers to the parent")
    state = await simulation.state("child")
    left = await simulation.bench.provider.lease_activities(
        ActivityRequest(
            token="looks",
            limit=10,
            lease_for=timedelta(seconds=1),
            names=frozenset({"unregistered"}),
        )
    )
    expect_equal([one.id for one in left if one.instance == state.instance], [], "activities left")


def family(*, edited: bool = False) -> Registry:
    """A parent, its child, which may be edited, and a grandchild."""
    app = Registry()

    @app.orchestration
    async def grandchild(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("never")

    @app.orchestration
    async def child(ctx: OrchestrationContext) -> None:
        if edited:
            await ctx.schedule_timer(60)
        ctx.schedule_activity("unregistered")
        ctx.schedule_sub_orchestration("grandchild", instance="grandchild")
        await ctx.schedule_wait("go")

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration("child", instance="child")
        except SubOrchestrationFailed as error:
            return error.details.display_message()
        return "the child completed"

    return app


def growing(*, patched: bool) -> Registry:
    """An orchestration that waits, and whose histories need a newer engine where it is patched."""
    app = Registry()

    @app.orchestration
    async def grow(ctx: OrchestrationContext) -> str:
        way = "new" if patched and ctx.patched("another way") else "old"
        await ctx.schedule_wait("go")
        return way

    return app


@scenario("SCENARIO-29")
async def an_older_runtime_leaves_what_a_newer_engine_wrote(simulation: Simulation) -> None:
    """An instance that a newer engine wrote is never leased, marked or ended by an older runtime, whatever it waits for, while others run there; a newer runtime goes on with it."""
    client = simulation.client
    newer = await simulation.node(growing(patched=True))
    await client.start_orchestration("alpha", "grow")
    await simulation.until_recorded("alpha", WaitCreated)
    await newer.stop()
    before = await simulation.state("alpha")
    expect_equal(before.engine, ENGINE_WITH_PATCHES, "the engine that the instance needs")

    patient = RuntimeOptions(unregistered_timeout=timedelta(minutes=5))
    older = await simulation.node(
        growing(patched=False), options=patient, engine=ENGINE_WITH_PATCHES - 1, poll=SELDOM
    )
    await client.raise_event("alpha", "go")
    await client.start_orchestration("beta", "grow")
    await client.raise_event("beta", "go")
    expect_equal(await simulation.output("beta"), "old", "the output of another instance")
    await simulation.pass_time(timedelta(minutes=20))
    expect_equal(await simulation.state("alpha"), before, "the instance after the older runtime")

    await simulation.node(growing(patched=True))
    expect_equal(await simulation.output("alpha"), "new", "the output")
    await older.stop()


@scenario("SCENARIO-41")
async def another_python_is_named_when_it_matters(simulation: Simulation) -> None:
    """An instance that was started under another minor version of Python is replayed and goes on; where its commands differ, the message names both versions."""
    client = simulation.client
    node = await simulation.node(original())
    node.link.rewrite = started_under
    for name in ("fitting", "differing"):
        await client.start_orchestration(name, "flow")
        await simulation.until_recorded(name, WaitCreated)
        started = await simulation.recorded(name, OrchestrationStarted)
        expect_equal([event.python for event in started], ["3.7"], "Python in the history")
    await node.stop()
    node = await simulation.node(original())
    await client.raise_event("fitting", "go")
    expect_equal(await simulation.output("fitting"), "secret", "output")
    await node.stop()
    node = await simulation.node(reordered())
    await client.raise_event("differing", "go")
    mark = await until_parked(simulation, "differing")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in ("3.7", here):
        expect(python in mark.details, f"the details do not name Python {python}: {mark.details}")
    await node.stop()
    await simulation.node(original())
    expect_equal(await simulation.output("differing"), "secret", "output")


def started_under(commit: TurnCommit) -> TurnCommit:
    """The commit as an old version of Python would have made it."""
    events = tuple(_PYTHON.sub(b'"python":"3.7"', event) for event in commit.events)
    return replace(commit, events=events)
