"""Races: the order in the history decides, in replay as in the live run."""

from __future__ import annotations

import asyncio
import itertools

from perdure import OrchestrationContext, Registry, activity_context
from perdure.history import (
    ActivityCompleted,
    ActivityScheduled,
    ChildScheduled,
    TimerFired,
    WaitCreated,
    WorkCancelled,
)
from perdure.model.status import NotFound

from perdure_conformance.expect import expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import Node, Simulation, scenario


class Gates:
    """Activities that return when the scenario lets them."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.ran: list[str] = []

    def open(self, name: str) -> None:
        """Let an activity return."""
        self.gates.setdefault(name, asyncio.Event()).set()

    def registry(self) -> Registry:
        """The activity `step`."""
        app = Registry()

        @app.activity
        async def step(name: str) -> str:
            full = f"{activity_context().instance}/{name}"
            self.ran.append(full)
            await self.gates.setdefault(full, asyncio.Event()).wait()
            return name

        return app


def races() -> Registry:
    """Orchestrations that do several things at once."""
    app = Registry()

    @app.orchestration
    async def race(ctx: OrchestrationContext) -> str:
        runners = [ctx.schedule_activity("step", name) for name in ("a", "b")]
        done, pending = await asyncio.wait(runners, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        await ctx.schedule_wait("go")
        return ",".join(sorted(winner.result() for winner in done))

    @app.orchestration
    async def change_of_mind(ctx: OrchestrationContext) -> str:
        ctx.schedule_activity("step", "never").cancel()
        ctx.schedule_timer(5).cancel()
        ctx.schedule_sub_orchestration("race", instance="never").cancel()
        await asyncio.sleep(10)
        return "done"

    @app.orchestration
    async def branches(ctx: OrchestrationContext) -> list[list[str]]:
        order: list[str] = []

        async def branch(name: str) -> list[str]:
            steps: list[str] = []
            for number in (1, 2):
                step = await ctx.schedule_activity("step", f"{name}{number}", result_type=str)
                steps.append(step)
                order.append(step)
            return steps

        return [*await asyncio.gather(branch("a"), branch("b")), order]

    return app


@scenario("SCENARIO-23")
async def the_first_result_wins_in_replay_too(simulation: Simulation) -> None:
    """Of two results that arrive in one batch the first in the history wins, live and in replay; the loser is cancelled once."""
    gates, client = Gates(), simulation.client
    node = await simulation.node(races())
    worker = await simulation.node(gates.registry())
    await client.start_orchestration("alpha", "race")
    await simulation.until(lambda: len(gates.ran) == 2, "both activities")
    await simulation.until_recorded("alpha", ActivityScheduled, 2)
    await node.stop()
    for name in ("b", "a"):
        gates.open(f"alpha/{name}")
        await simulation.until(lambda n=name: completed(worker) == "ba".index(n) + 1, "a result")
    node = await simulation.node(races())
    await simulation.until_recorded("alpha", WaitCreated)
    await node.stop()
    await simulation.node(races())
    await client.raise_event("alpha", "go")
    expect_equal(await simulation.output("alpha"), "b", "winners")
    expect_equal(len(await simulation.recorded("alpha", WorkCancelled)), 1, "cancellations")
    expect_equal(len(await simulation.recorded("alpha", ActivityCompleted)), 1, "results recorded")


def completed(worker: Node) -> int:
    """How many results a node has sent."""
    return worker.link.calls["complete_activity"]


@scenario("SCENARIO-24")
async def a_loser_may_finish_first(simulation: Simulation) -> None:
    """A loser that finishes before its cancellation is applied is ignored, and the history stays one that the code agrees with."""
    gates, client = Gates(), simulation.client
    node = await simulation.node(races())
    worker = await simulation.node(gates.registry())
    await client.start_orchestration("alpha", "race")
    await simulation.until(lambda: len(gates.ran) == 2, "both activities")
    held = Held(lambda operation, _: operation == "commit_turn")
    node.link.disturbance = held
    gates.open("alpha/a")
    await simulation.until(lambda: held.caught == 1, "the commit that cancels the loser")
    gates.open("alpha/b")
    await simulation.until(lambda: completed(worker) == 2, "the loser's result")
    held.let_through()
    await simulation.until_recorded("alpha", WaitCreated)
    await node.stop()
    await simulation.node(races())
    await client.raise_event("alpha", "go")
    expect_equal(await simulation.output("alpha"), "a", "winners")
    expect_equal(len(await simulation.recorded("alpha", WorkCancelled)), 1, "cancellations")


@scenario("SCENARIO-25")
async def what_is_cancelled_at_once_never_runs(simulation: Simulation) -> None:
    """An activity, a timer or a child that is scheduled and cancelled in one turn leaves both in the history, and nothing else anywhere."""
    gates, client = Gates(), simulation.client
    await simulation.node(races(), gates.registry())
    await client.start_orchestration("alpha", "change_of_mind")
    expect_equal(await simulation.output("alpha"), "done", "output")
    expect_equal(gates.ran, [], "activities that ran")
    expect_equal(await client.get_orchestration_status("never"), NotFound(), "the child")
    expect_equal(len(await simulation.recorded("alpha", TimerFired)), 1, "timers fired")
    expect_equal(len(await simulation.recorded("alpha", WorkCancelled)), 3, "cancellations")
    expect_equal(
        len(await simulation.recorded("alpha", ChildScheduled)), 1, "children in the history"
    )


ORDERS = sorted(
    order
    for order in itertools.permutations(("a1", "a2", "b1", "b2"))
    if order.index("a1") < order.index("a2") and order.index("b1") < order.index("b2")
)


@scenario("SCENARIO-36")
async def branches_go_on_after_any_restart(simulation: Simulation) -> None:
    """Two branches of two steps each under gather give the same result for results in any order, and a restart at any place."""
    gates = Gates()
    worker = await simulation.node(gates.registry())
    for restart in range(4):
        await run_branches(simulation, gates, restart)
    expect_equal(len(gates.ran), 4 * 4 * len(ORDERS), "steps that ran")
    await worker.stop()


async def run_branches(simulation: Simulation, gates: Gates, restart: int) -> None:
    """An instance for each order of results, with a new runtime after so many of them."""
    instances = {f"{'-'.join(order)} {restart}": order for order in ORDERS}
    node = await simulation.node(races())
    for instance in instances:
        await simulation.client.start_orchestration(instance, "branches")
    for place in range(4):
        if place == restart:
            # After an even number of results it dies, after an odd one it is closed.
            if place % 2:
                await node.stop()
            else:
                node.crash()
            node = await simulation.node(races())
        steps = {f"{instance}/{order[place]}" for instance, order in instances.items()}
        await simulation.until(lambda s=steps: s <= {*gates.ran}, f"the steps {steps}")
        for step in steps:
            gates.open(step)
        for instance in instances:
            await simulation.until_recorded(instance, ActivityCompleted, place + 1)
    for instance, order in instances.items():
        output = await simulation.output(instance)
        expect_equal(output, [["a1", "a2"], ["b1", "b2"], list(order)], f"output of {instance}")
        completed = await simulation.recorded(instance, ActivityCompleted)
        expect_equal([e.result.strip('"') for e in completed], list(order), "results recorded")
    await node.stop()
