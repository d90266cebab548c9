"""Damaged storage: an instance whose history cannot be read waits until it can be read again."""

from __future__ import annotations

from datetime import timedelta

from perdure import OrchestrationContext, Registry
from perdure.history import WaitCreated

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.parking import until_parked
from perdure_conformance.scenarios.simulation import SOON, Simulation, scenario
from perdure_conformance.tampering import RAW_HISTORY


def two_steps() -> Registry:
    """An orchestration with a history that is worth something."""
    app = Registry()

    @app.activity
    async def first() -> str:
        return "done"

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        done = await ctx.schedule_activity(first)
        await ctx.schedule_wait("go")
        return done

    return app


@scenario("SCENARIO-21e", tampering=RAW_HISTORY)
async def a_damaged_history_waits_for_its_repair(simulation: Simulation) -> None:
    """An instance whose history was damaged in the storage is parked, visibly, and no other instance is affected; it goes on when the history is restored."""
    client, bench = simulation.client, simulation.bench
    node = await simulation.node(two_steps())
    for instance in ("alpha", "beta"):
        await client.start_orchestration(instance, "flow")
        await simulation.until_recorded(instance, WaitCreated)
    await node.stop()
    state = await simulation.state("alpha")
    sound = (await bench.history("alpha", incarnation=state.incarnation))[1].data
    await bench.tampering.raw_history.replace_event(bench.place(2), b"\x00\xff{")
    await simulation.node(two_steps())
    for instance in ("alpha", "beta"):
        await client.raise_event(instance, "go")
    expect_equal(await simulation.output("beta"), "done", "output of the other instance")
    mark = await until_parked(simulation, "alpha")
    expect_equal(mark.reason, "undecodable", "the reason")
    expect("alpha" in mark.details, f"the details name no instance: {mark.details}")
    await simulation.pass_time(timedelta(seconds=40))
    await bench.tampering.raw_history.replace_event(bench.place(2), sound)
    took = await simulation.until(
        lambda: simulation.have_ended("alpha"), "the end after the repair"
    )
    expect(took <= timedelta(seconds=30) + SOON, f"it went on after {took}")
    expect_equal(await simulation.output("alpha"), "done", "output")
