"""Custom status and values: what is committed is seen, once, and the same in every replay."""

from __future__ import annotations

from datetime import timedelta

from perdure import OrchestrationContext, Registry, Retention, RuntimeOptions
from perdure.contract import DELETION, LISTING, RECOVERY, VALUES
from perdure.history import WaitCreated
from perdure.model.status import NotFound

from perdure_conformance.expect import expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import SELDOM, Simulation, scenario


def counting() -> Registry:
    """An orchestration that counts events in a value, over its executions."""
    app = Registry()

    @app.orchestration
    async def count(ctx: OrchestrationContext, left: int) -> dict[str, object]:
        ctx.set_status({"left": left})
        await ctx.schedule_wait("tick")
        ctx.set_value("ticks", (ctx.get_value("ticks", int) or 0) + 1)
        ctx.set_value(f"execution {ctx.execution}", left)
        if left > 1:
            ctx.continue_as_new(left - 1)
        ctx.delete_value("execution 1")
        return ctx.values()

    @app.orchestration
    async def brief(ctx: OrchestrationContext, text: str) -> str:
        return text

    return app


async def values_of(simulation: Simulation, instance: str) -> dict[str, bytes]:
    """The values as the storage has them."""
    stored = await simulation.bench.provider.read_values(instance)
    return {} if stored is None else dict(stored.values)


@scenario("SCENARIO-30", needs=VALUES)
async def values_are_read_and_changed_over_executions(simulation: Simulation) -> None:
    """Values that are read and changed over turns, executions and restarts are the same in every replay, and each change counts once."""
    client = simulation.client
    await client.start_orchestration_typed("alpha", "count", 3)
    for number in range(3):
        node = await simulation.node(counting())
        await simulation.until(
            lambda number=number: _waits(simulation, number + 1), "the next execution"
        )
        await node.stop()
        await client.raise_event("alpha", "tick")
    await simulation.node(counting())
    expected = {"execution 2": 2, "execution 3": 1, "ticks": 3}
    expect_equal(await simulation.output("alpha"), expected, "the values that it returned")
    stored = {"execution 2": b"2", "execution 3": b"1", "ticks": b"3"}
    expect_equal(await values_of(simulation, "alpha"), stored, "the values in the storage")


async def _waits(simulation: Simulation, execution: int) -> bool:
    state = await simulation.state("alpha")
    if state.execution != execution or not state.last_event:
        return False
    return bool(await simulation.recorded("alpha", WaitCreated, execution))


@scenario("SCENARIO-50", needs=(RECOVERY, VALUES))
async def only_what_is_committed_is_seen(simulation: Simulation) -> None:
    """The status and the values of a turn are seen when it is committed, and never those of a turn that was lost; a rewind puts them back to what they were at its cut."""
    client = simulation.client
    lost = await simulation.node(counting())
    lost.link.disturbance = held = Held(lambda operation, _: operation == "commit_turn")
    await client.start_orchestration_typed("alpha", "count", 2)
    await simulation.until(lambda: held.caught > 0, "the first commit")
    state = await simulation.state("alpha")
    expect_equal((state.custom_status, state.custom_status_version), (None, 0), "status before")
    lost.crash()
    await simulation.node(counting())
    await simulation.until_recorded("alpha", WaitCreated)
    state = await simulation.state("alpha")
    expect_equal((state.custom_status, state.custom_status_version), (b'{"left":2}', 1), "status")
    await client.raise_event("alpha", "tick")
    await simulation.until(lambda: _waits(simulation, 2), "the next execution")
    expect_equal(
        await values_of(simulation, "alpha"), {"execution 1": b"2", "ticks": b"1"}, "values"
    )
    await simulation.run(client.rewind_instance("alpha", to_event=3, execution=1), "the rewind")
    await simulation.until(lambda: _is_answered_again(simulation), "the rewound execution")
    await simulation.until(lambda: _waits(simulation, 4), "the execution behind it")
    expect_equal(
        await values_of(simulation, "alpha"), {"execution 3": b"2", "ticks": b"1"}, "values again"
    )


async def _is_answered_again(simulation: Simulation) -> bool:
    return (await simulation.state("alpha")).execution >= 3


@scenario("SCENARIO-53", needs=(DELETION, LISTING, VALUES))
async def a_retention_deletes_beside_work(simulation: Simulation) -> None:
    """A runtime with a retention deletes what ended long enough ago, while other instances start, run and end beside it; it deletes nothing that runs or ended lately, and counts what it has deleted."""
    client = simulation.client
    kept = timedelta(hours=1)
    retention = Retention(completed=kept, failed=kept)
    node = await simulation.node(
        counting(), options=RuntimeOptions(retention=retention), poll=SELDOM
    )
    await client.start_orchestration_typed("long", "count", 1)
    for number in range(5):
        await client.start_orchestration_typed(f"old{number}", "brief", "old")
        expect_equal(await simulation.output(f"old{number}"), "old", "an output")
    await simulation.pass_time(kept - timedelta(minutes=10))
    expect_equal(node.runtime.statistics.instances_deleted, 0, "deleted before the time")
    for number in range(10):
        await client.start_orchestration_typed(f"new{number}", "brief", "new")
        await simulation.pass_time(timedelta(minutes=2))
        expect_equal(await simulation.output(f"new{number}"), "new", "an output beside deletions")
    await simulation.pass_time(timedelta(minutes=5))
    for number in range(5):
        status = await client.get_orchestration_status(f"old{number}")
        expect_equal(status, NotFound(), f"old{number} after the time")
    expect_equal(node.runtime.statistics.instances_deleted, 5, "instances deleted")
    await client.raise_event("long", "tick")
    await simulation.output("long")
