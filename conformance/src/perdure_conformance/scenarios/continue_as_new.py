"""Continue-as-new: unread messages stay, running work does not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import OrchestrationContext, Registry
from perdure.contract import InstanceStatus, TurnCommit
from perdure.history import ActivityCompleted, ChildCompleted, EventRaised, TimerFired, WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled
from perdure.model.status import NotFound

from perdure_conformance.expect import expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import Simulation, scenario

MANY = 250
"""More than any cap that would be a round number."""


def continuing() -> Registry:
    """Orchestrations that continue as new."""
    app = Registry()

    @app.orchestration
    async def collect(ctx: OrchestrationContext, taken: list[int]) -> list[int]:
        """Takes one number an execution until it has as many as the first one says."""
        taken.append(await ctx.schedule_wait("number", int))
        if len(taken) <= taken[0]:
            ctx.continue_as_new(taken)
        return taken

    @app.orchestration
    async def leave_behind(ctx: OrchestrationContext, again: bool) -> object:
        if not again:
            ctx.schedule_timer(timedelta(seconds=30))
            ctx.schedule_activity("slow")
            ctx.schedule_sub_orchestration("wait", instance="left child")
            await ctx.schedule_wait("go")
            ctx.continue_as_new(True)
        async with asyncio.timeout(300):
            return [await ctx.schedule_wait("number", int) for _ in range(MANY + 1)]

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> object:
        return await ctx.schedule_wait("never")

    @app.orchestration
    async def start_another(ctx: OrchestrationContext, again: bool) -> str:
        if not again:
            ctx.schedule_orchestration("count", instance="detached")
            ctx.continue_as_new(True)
        return "done"

    @app.orchestration
    async def count(ctx: OrchestrationContext) -> int:
        return ctx.execution

    @app.orchestration
    async def thrice(ctx: OrchestrationContext, left: int) -> str:
        await asyncio.sleep(10)
        if left:
            ctx.continue_as_new(left - 1)
        return f"execution {ctx.execution}"

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_sub_orchestration("thrice", 3, instance="child", result_type=str)

    return app


@scenario("SCENARIO-11")
async def unread_events_are_carried_over(simulation: Simulation) -> None:
    """Continue-as-new carries over every event that no wait has taken, in order and ahead of newer ones, however many there are; timers and activities of the old execution never reach the new one, and its children are cancelled."""
    client, app, slow = simulation.client, continuing(), Registry()
    gate = asyncio.Event()

    @slow.activity(name="slow")
    async def slow_activity() -> str:
        await gate.wait()
        return "too late"

    await simulation.node(app)
    worker = await simulation.node(slow)
    await client.start_orchestration("alpha", "leave_behind", "false")
    await simulation.until(
        lambda: worker.runtime.statistics.activities_running == 1, "the activity"
    )
    await simulation.until_recorded("alpha", WaitCreated)
    for number in range(MANY):
        await client.raise_event("alpha", "number", str(number))
    await simulation.until_recorded("alpha", EventRaised, MANY)
    await client.raise_event("alpha", "go")
    await client.raise_event("alpha", "number", str(MANY))
    details = await simulation.failure("left child")
    expected = ApplicationFailure(Cancelled(reason="the parent ended"))
    expect_equal(details, expected, "the end of the child that was left behind")
    gate.set()
    expect_equal(await simulation.output("alpha"), list(range(MANY + 1)), "events taken")
    await simulation.pass_time(timedelta(seconds=40))
    for kind in (TimerFired, ActivityCompleted):
        expect_equal(
            await simulation.recorded("alpha", kind, 2), [], f"{kind.__name__} in the new one"
        )


@scenario("SCENARIO-11a")
async def the_start_is_read_before_events(simulation: Simulation) -> None:
    """However many events wait, each execution begins with its start, and takes them in order over many executions."""
    client = simulation.client
    await client.raise_event("alpha", "number", "20")
    for number in range(1, 150):
        await client.raise_event("alpha", "number", str(number))
    await client.start_orchestration("alpha", "collect", "[]")
    await simulation.node(continuing())
    expect_equal(await simulation.output("alpha"), [20, *range(1, 21)], "events taken")
    state = await simulation.state("alpha")
    expect_equal(state.execution, 21, "executions")


@scenario("SCENARIO-12")
async def a_detached_start_survives_its_execution(simulation: Simulation) -> None:
    """An orchestration that is started, detached, in the turn that continues as new runs exactly once."""
    await simulation.node(continuing())
    await simulation.client.start_orchestration("alpha", "start_another", "false")
    expect_equal(await simulation.output("alpha"), "done", "output")
    expect_equal(await simulation.output("detached"), 1, "output of the detached one")


@scenario("SCENARIO-13")
async def nothing_is_lost_between_executions(simulation: Simulation) -> None:
    """Messages that arrive between the end of one execution and the start of the next are all delivered, in order, also when the runtime dies in between."""
    client, app = simulation.client, continuing()
    node = await simulation.node(app)
    held = Held(is_continuation, after=True)
    node.link.disturbance = held
    await client.start_orchestration("alpha", "collect", "[]")
    await client.raise_event("alpha", "number", "5")
    await simulation.until(lambda: held.caught == 1, "the end of the first execution")
    for number in range(1, 3):
        await client.raise_event("alpha", "number", str(number))
    held.let_through()
    await simulation.until(lambda: taken_up(simulation, 4), "the fourth execution")
    held = Held(is_continuation, after=True)
    node.link.disturbance = held
    await client.raise_event("alpha", "number", "3")
    await simulation.until(lambda: held.caught == 1, "the end of the fourth execution")
    node.crash()
    await client.raise_event("alpha", "number", "4")
    await simulation.node(app)
    await client.raise_event("alpha", "number", "5")
    expect_equal(await simulation.output("alpha"), [5, 1, 2, 3, 4, 5], "events taken")


def is_continuation(operation: str, argument: object) -> bool:
    """Whether a call is a commit that continues as new."""
    return (
        operation == "commit_turn"
        and isinstance(argument, TurnCommit)
        and argument.end is not None
        and argument.end.status is InstanceStatus.CONTINUED_AS_NEW
    )


async def taken_up(simulation: Simulation, execution: int) -> bool:
    """Whether an execution of `alpha` has had a turn."""
    state = await simulation.state("alpha")
    return (state.execution, state.last_event > 0) == (execution, True)


@scenario("SCENARIO-14")
async def a_parent_gets_the_result_of_the_last_execution(simulation: Simulation) -> None:
    """A child that continues as new, on any node, and then ends, gives its parent the final result once."""
    app = continuing()
    node = await simulation.node(app)
    await simulation.client.start_orchestration("parent", "parent")
    await simulation.until(lambda: child_at(simulation, 2), "the child's second execution")
    node.crash()
    node = await simulation.node(app)
    await simulation.until(lambda: child_at(simulation, 3), "the child's third execution")
    await node.stop()
    await simulation.node(app)
    expect_equal(await simulation.output("parent"), "execution 4", "output")
    completed = await simulation.recorded("parent", ChildCompleted)
    expect_equal(len(completed), 1, "results recorded by the parent")


async def child_at(simulation: Simulation, execution: int) -> bool:
    """Whether `child` has reached an execution."""
    if await simulation.client.get_orchestration_status("child") == NotFound():
        return False
    return (await simulation.state("child")).execution >= execution
