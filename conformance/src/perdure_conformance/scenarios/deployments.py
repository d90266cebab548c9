"""Deployments: code that changed, code that is not there yet, another Python."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions, WaitTimeout
from perdure.contract import ActivityRequest, TurnCommit
from perdure.errors import SubOrchestrationFailed
from perdure.history import ChildFailed, OrchestrationStarted, WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled, ConfigurationFailure, Unregistered
from perdure.model.status import Parked, Running
from perdure.observe import InstanceParked, ValueDiffered

from perdure_conformance.expect import ClauseBroken, expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.simulation import SOON, Simulation, expect_soon, scenario


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


def original() -> Registry:
    """The code as it was deployed first."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        first = await ctx.schedule_activity("old", "secret", result_type=str)
        await ctx.schedule_wait("go")
        return first

    return app


def renamed() -> Registry:
    """The same, but for the activity's name."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        first = await ctx.schedule_activity("new", "secret", result_type=str)
        await ctx.schedule_wait("go")
        return first

    return app


def altered() -> Registry:
    """The same, but for the activity's input."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        first = await ctx.schedule_activity("old", "other", result_type=str)
        await ctx.schedule_wait("go")
        return first

    return app


def reordered() -> Registry:
    """The same in another order."""
    app = activities()

    @app.orchestration(name="flow")
    async def flow(ctx: OrchestrationContext) -> str:
        await ctx.schedule_wait("go")
        return await ctx.schedule_activity("old", "secret", result_type=str)

    return app


async def parked_mark(simulation: Simulation, instance: str) -> Parked | None:
    """Why a running instance does not move."""
    status = await simulation.client.get_orchestration_status(instance)
    return status.parked if isinstance(status, Running) else None


async def until_parked(simulation: Simulation, instance: str) -> Parked:
    """Let time pass until an instance is marked as parked."""

    async def is_parked() -> bool:
        return await parked_mark(simulation, instance) is not None

    await simulation.until(is_parked, f"the mark of {instance!r}")
    mark = await parked_mark(simulation, instance)
    if mark is None:
        raise ClauseBroken(f"the mark of {instance!r} vanished")
    return mark


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


@scenario("SCENARIO-28")
async def an_unregistered_orchestration_waits_for_its_runtime(simulation: Simulation) -> None:
    """An orchestration that is not registered here is parked, visibly, and left for a runtime that has it, which takes it at once, however many others look for work; other instances are unaffected meanwhile."""
    client, other = simulation.client, activities()

    @other.orchestration
    async def hello(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity("old", "hello", result_type=str)

    for _ in range(3):
        await simulation.node(other)
    for number in range(20):
        await client.start_orchestration(f"unknown {number}", "flow")
    await client.start_orchestration("version", "hello", version="2.0.0")
    mark = await until_parked(simulation, "unknown 0")
    expect_equal(mark.reason, "unregistered", "the reason")
    expect("'flow'" in mark.details, f"the details name no orchestration: {mark.details}")
    mark = await until_parked(simulation, "version")
    expect("2.0.0" in mark.details, f"the details name no version: {mark.details}")
    await simulation.pass_time(timedelta(seconds=20))
    since = (await until_parked(simulation, "version")).since
    expect_equal(since, mark.since, "since when it is parked")
    await client.start_orchestration("known", "hello")
    took = await simulation.until(lambda: simulation.have_ended("known"), "the end of a known one")
    expect_soon(took, "an instance beside unregistered ones")
    await simulation.node(original())
    names = [f"unknown {number}" for number in range(20)]
    for name in names:
        await client.raise_event(name, "go")
    took = await simulation.until(lambda: simulation.have_ended(*names), "the end of all")
    expect_soon(took, "instances once their code is there")


@scenario("SCENARIO-28a")
async def an_unregistered_activity_waits_for_its_worker(simulation: Simulation) -> None:
    """The same for an activity: its instance is parked, visibly, and goes on at once when a worker has it."""
    client, app = simulation.client, Registry()

    @app.orchestration
    async def ask(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity("old", "answer", result_type=str)

    for _ in range(3):
        await simulation.node(app)
    await client.start_orchestration("alpha", "ask")
    mark = await until_parked(simulation, "alpha")
    expect_equal(mark.reason, "unregistered", "the reason")
    expect("'old'" in mark.details, f"the details name no activity: {mark.details}")
    await simulation.pass_time(timedelta(seconds=20))
    await simulation.node(activities())
    took = await simulation.until(lambda: simulation.have_ended("alpha"), "the end")
    expect_soon(took, "an activity once its code is there")
    expect_equal(await simulation.output("alpha"), "answer", "output")


@scenario("SCENARIO-28b")
async def what_is_unregistered_for_too_long_fails(simulation: Simulation) -> None:
    """Unregistered work waits without limit, unless `unregistered_timeout` is set; then it fails with a clear reason when that time is over, and not before."""
    client, app = simulation.client, Registry()

    @app.orchestration
    async def ask(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity("absent", result_type=str)

    node = await simulation.node(app)
    await client.start_orchestration("patient", "absent")
    await client.start_orchestration("patient ask", "ask")
    for name in ("patient", "patient ask"):
        await until_parked(simulation, name)
    await simulation.jump(timedelta(days=30))
    await simulation.pass_time(timedelta(seconds=60))
    for name in ("patient", "patient ask"):
        expect(not await simulation.have_ended(name), f"{name!r} failed though no timeout is set")
    await node.stop()
    options = RuntimeOptions(unregistered_timeout=timedelta(hours=24))
    await simulation.node(app, options=options)
    await client.start_orchestration("unknown", "absent")
    await client.start_orchestration("ask", "ask")
    for name in ("unknown", "ask"):
        await until_parked(simulation, name)
    await simulation.jump(timedelta(hours=23))
    await simulation.pass_time(timedelta(seconds=5))
    expect(not await simulation.have_ended("unknown"), "an orchestration failed before its time")
    expect(not await simulation.have_ended("ask"), "an activity failed before its time")
    await simulation.jump(timedelta(hours=1))
    details = await simulation.failure("unknown")
    expected = ConfigurationFailure(Unregistered(what="orchestration", name="absent"))
    expect_equal(details, expected, "the end of the orchestration")
    details = await simulation.failure("ask")
    expect("absent" in details.message, f"the end of the caller of the activity: {details}")


@scenario("SCENARIO-28c")
async def an_activity_with_an_unregistered_tag_is_parked(simulation: Simulation) -> None:
    """An activity whose tag no runtime serves parks its instance, visibly, with the tag named; other instances are unaffected, and a runtime that serves the tag takes the activity at once, however many others look for work."""
    client, app = simulation.client, activities()

    @app.orchestration
    async def ask(ctx: OrchestrationContext, tag: str | None) -> str:
        return await ctx.schedule_activity("old", "answer", result_type=str, tag=tag)

    for _ in range(3):
        await simulation.node(app)
    waiting = [f"tagged {number}" for number in range(20)]
    for name in waiting:
        await client.start_orchestration(name, "ask", '"gpuu"')
    mark = await until_parked(simulation, waiting[0])
    expect_equal(mark.reason, "unregistered", "the reason")
    expect("'gpuu'" in mark.details, f"the details name no tag: {mark.details}")
    await simulation.pass_time(timedelta(seconds=20))
    since = (await until_parked(simulation, waiting[0])).since
    expect_equal(since, mark.since, "since when it is parked")
    await client.start_orchestration("untagged", "ask")
    took = await simulation.until(
        lambda: simulation.have_ended("untagged"), "the end of an untagged one"
    )
    expect_soon(took, "an activity beside those of a tag that no runtime serves")
    await simulation.node(activities(), options=RuntimeOptions(tags=frozenset({"gpuu"})))
    took = await simulation.until(lambda: simulation.have_ended(*waiting), "the end of all")
    expect_soon(took, "activities once their tag is served")


@scenario("SCENARIO-28d")
async def an_unregistered_instance_can_be_cancelled(simulation: Simulation) -> None:
    """An instance that no runtime has registered ends as cancelled when it is cancelled, whether or not it ran before, and its parent is told."""
    client, app = simulation.client, Registry()

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration("absent", instance="child")
        except SubOrchestrationFailed as error:
            return error.details.display_message()
        return "the child completed"

    node = await simulation.node(original())
    await client.start_orchestration("ran", "flow")
    await simulation.until_recorded("ran", WaitCreated)
    await node.stop()
    await simulation.node(app)
    await client.start_orchestration("parent", "parent")
    await client.raise_event("ran", "go")
    for name in ("ran", "child"):
        mark = await until_parked(simulation, name)
        expect_equal(mark.reason, "unregistered", f"why {name!r} is parked")
        await client.cancel_instance(name, "give up")
        expected = ApplicationFailure(Cancelled(reason="give up"))
        expect_equal(await simulation.failure(name), expected, f"the end of {name!r}")
    expect_equal(await simulation.output("parent"), "canceled: give up", "what the parent got")


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


_PYTHON = re.compile(rb'"python":"[^"]*"')
