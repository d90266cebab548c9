"""Children: their ids, and that a parent always hears of their end."""

from __future__ import annotations

from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions
from perdure.errors import SubOrchestrationAlreadyExists, SubOrchestrationFailed
from perdure.history import ChildFailed, ChildRefused, WaitCreated
from perdure.model.payload import LARGEST_PAYLOAD
from perdure.observe import DetachedStartRefused

from perdure_conformance.expect import expect_equal
from perdure_conformance.scenarios.simulation import Simulation, scenario


def families() -> Registry:
    """Parents that return how their child ended, and children that fail."""
    app = Registry()

    @app.orchestration
    async def parent(ctx: OrchestrationContext, child: str) -> list[str]:
        try:
            await ctx.schedule_sub_orchestration(child, instance=f"child {child}")
        except SubOrchestrationAlreadyExists:
            return ["exists", ""]
        except SubOrchestrationFailed as error:
            return [error.details.category(), error.details.type_name]
        return ["completed", ""]

    @app.orchestration
    async def adopt(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration("wait", instance="stranger")
        except SubOrchestrationAlreadyExists as error:
            ctx.schedule_orchestration("wait", instance="stranger")
            await ctx.schedule_wait("go")
            return error.instance
        return "adopted"

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    @app.orchestration
    async def raising(ctx: OrchestrationContext) -> None:
        raise ValueError("no")

    @app.orchestration
    async def too_large(ctx: OrchestrationContext) -> str:
        return "x" * LARGEST_PAYLOAD

    return app


@scenario("SCENARIO-15")
async def an_id_in_use_is_no_child(simulation: Simulation) -> None:
    """A child whose id is in use raises SubOrchestrationAlreadyExists in its parent, which can catch it; a detached start of an id in use is told to observers and changes nothing; the existing instance is unaffected, also by a later cancellation of the parent."""
    client = simulation.client
    node = await simulation.node(families())
    await client.start_orchestration("stranger", "wait")
    await simulation.until_recorded("stranger", WaitCreated)
    before = await simulation.state("stranger")
    for parent in ("kept", "cancelled"):
        await client.start_orchestration(parent, "adopt")
        await simulation.until_recorded(parent, WaitCreated)
        expect_equal(len(await simulation.recorded(parent, ChildRefused)), 1, "refusals recorded")
    refused = [(e.instance, e.detached) for e in simulation.observer.saw(DetachedStartRefused)]
    expected = [("kept", "stranger"), ("cancelled", "stranger")]
    expect_equal(refused, expected, "observed refusals of detached starts")
    await client.cancel_instance("cancelled", "enough")
    await simulation.failure("cancelled")
    await node.stop()
    await simulation.node(families())
    await client.raise_event("kept", "go")
    expect_equal(await simulation.output("kept"), "stranger", "what the parent caught")
    await simulation.pass_time(timedelta(seconds=5))
    expect_equal(await simulation.state("stranger"), before, "the existing instance")
    await client.raise_event("stranger", "go", '"still here"')
    expect_equal(await simulation.output("stranger"), "still here", "its output")


@scenario("SCENARIO-16")
async def a_parent_hears_of_every_failure(simulation: Simulation) -> None:
    """A child that fails reports it to its parent, whether by an exception, a cancellation, a result above the limit, or because no runtime has its function for too long."""
    client = simulation.client
    await simulation.node(
        families(), options=RuntimeOptions(unregistered_timeout=timedelta(hours=1))
    )
    for child in ("raising", "too_large", "wait", "unknown"):
        await client.start_orchestration_typed(f"parent {child}", "parent", child)
    expected = {
        "raising": ["application", "ValueError"],
        "too_large": ["application", "PayloadTooLarge"],
    }
    for child, told in expected.items():
        expect_equal(
            await simulation.output(f"parent {child}"), told, f"what the parent of {child} got"
        )
    await simulation.until_recorded("child wait", WaitCreated)
    await client.cancel_instance("child wait", "enough")
    told = await simulation.output("parent wait")
    expect_equal(told, ["application", "Cancelled"], "what the parent of a cancelled child got")

    async def is_parked() -> bool:
        return (await simulation.state("child unknown")).parked is not None

    await simulation.until(is_parked, "the unknown child's mark")
    await simulation.jump(timedelta(hours=1, minutes=1))
    told = await simulation.output("parent unknown")
    expect_equal(told, ["configuration", "Unregistered"], "what the parent of an unknown child got")
    for child in ("raising", "too_large", "wait", "unknown"):
        failures = await simulation.recorded(f"parent {child}", ChildFailed)
        expect_equal(len(failures), 1, f"failures in the parent of {child}")
