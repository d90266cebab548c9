"""Code that is not there: unregistered orchestrations and activities, and tags that no runtime serves."""

from __future__ import annotations

from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions
from perdure.errors import SubOrchestrationFailed
from perdure.history import WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled, ConfigurationFailure, Unregistered

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.deployments import activities, original
from perdure_conformance.scenarios.parking import until_parked
from perdure_conformance.scenarios.simulation import Simulation, expect_soon, scenario


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
