"""Work that kills its process, and data that cannot be read."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions
from perdure.contract import Message, MessageKind, TurnCommit
from perdure.errors import ActivityFailed, SubOrchestrationFailed
from perdure.history import ActivityFailed as ActivityFailedEvent
from perdure.history import WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled, Poisoned
from perdure.model.status import Running

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import Node, Simulation, scenario

OPTIONS = RuntimeOptions(max_attempts=2)


class Killer:
    """Kills the node that runs it."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.node: Node | None = None
        self.deaths = 0

    def kill_node(self) -> None:
        """Kill the node. The code that runs on it goes on without effect."""
        if self.node is not None:
            self.deaths += 1
            self.node.crash()
            self.node = None

    async def replace_killed_nodes(self, app: Registry, *instances: str) -> None:
        """Start a new node whenever one was killed, until the instances have ended."""

        async def killed_or_done() -> bool:
            return self.node is None or await self._simulation.have_ended(*instances)

        while not await self._simulation.have_ended(*instances):
            self.node = await self._simulation.node(app, options=OPTIONS)
            await self._simulation.until(killed_or_done, "the end, or another death")
        self.node = None


def deadly(killer: Killer) -> Registry:
    """Orchestrations and activities of which some kill their process."""
    app = Registry()

    @app.activity
    async def kill() -> None:
        killer.kill_node()

    @app.activity
    async def work() -> str:
        return "done"

    @app.orchestration
    async def killing(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("go")
        killer.kill_node()

    @app.orchestration
    async def innocent(ctx: OrchestrationContext) -> str:
        await ctx.schedule_wait("go")
        return await ctx.schedule_activity(work)

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration(killing, instance="child")
        except SubOrchestrationFailed as error:
            return error.details.type_name
        return "completed"

    @app.orchestration
    async def kill_by_activity(ctx: OrchestrationContext) -> list[str]:
        try:
            await ctx.schedule_activity(kill)
        except ActivityFailed as error:
            return [error.type_name, await ctx.schedule_activity(work)]
        return ["survived"]

    return app


@scenario("SCENARIO-21")
async def a_deadly_turn_is_found_out(simulation: Simulation) -> None:
    """An instance whose turn kills its process more than `max_attempts` times fails with kind poison, after it ran once in isolation; its parent is told; instances that share the process are not blamed."""
    killer, client = Killer(simulation), simulation.client
    app = deadly(killer)
    node = await simulation.node(app)
    others = [f"innocent {number}" for number in range(5)]
    await client.start_orchestration("parent", "parent")
    await simulation.until(lambda: waits(simulation, "child"), "the child")
    for other in others:
        await client.start_orchestration(other, "innocent")
        await simulation.until_recorded(other, WaitCreated)
    await node.stop()
    for instance in (*others[:3], "child", *others[3:]):
        await client.raise_event(instance, "go")
    await killer.replace_killed_nodes(app, *others, "parent", "child")
    details = await simulation.failure("child")
    kind = details.kind
    expect(isinstance(kind, Poisoned), f"the deadly instance ended as {details!r}")
    expect_equal(killer.deaths, 3, "deaths, the one alone included")
    expect_equal(await simulation.output("parent"), "Poisoned", "what the parent got")
    for other in others:
        expect_equal(await simulation.output(other), "done", f"output of {other!r}")


async def waits(simulation: Simulation, instance: str) -> bool:
    """Whether an instance exists and has run its first turn."""
    state = await simulation.bench.provider.read_instance(instance)
    return state is not None and state.last_event > 0


@scenario("SCENARIO-21a")
async def a_deadly_activity_is_found_out(simulation: Simulation) -> None:
    """An activity that kills its process more than `max_attempts` times fails with kind poison, which its orchestration can catch; other activities are not blamed."""
    killer, client = Killer(simulation), simulation.client
    app = deadly(killer)
    others = [f"innocent {number}" for number in range(5)]
    for instance in others:
        await client.start_orchestration(instance, "innocent")
        await client.raise_event(instance, "go")
    await client.start_orchestration("deadly", "kill_by_activity")
    await killer.replace_killed_nodes(app, *others, "deadly")
    expect_equal(await simulation.output("deadly"), ["Poisoned", "done"], "what was caught")
    expect_equal(killer.deaths, 3, "deaths, the one alone included")
    failures = await simulation.recorded("deadly", ActivityFailedEvent)
    expected = [ApplicationFailure(Poisoned(work="activity 'kill'", attempts=3))]
    expect_equal([event.details for event in failures], expected, "failures recorded")
    for other in others:
        expect_equal(await simulation.output(other), "done", f"output of {other!r}")


@scenario("SCENARIO-21d")
async def work_that_never_ran_in_isolation_is_not_suspected(simulation: Simulation) -> None:
    """An instance or activity that was under way each time its process died for another reason, and that waits to run in isolation when the process dies again, is not blamed."""
    client, gate = simulation.client, asyncio.Event()
    app = unlucky(gate)
    await client.start_orchestration("turn", "hello")
    await client.start_orchestration("activity", "work_then_hello")
    for _ in range(2):
        node = await simulation.node(app, options=OPTIONS)
        node.link.disturbance = held = Held(begins_or_ends)
        await simulation.until(lambda h=held: h.caught >= 2, "work that is under way")
        node.crash()
    await client.start_orchestration("busy", "be_busy")
    node = await simulation.node(app, options=OPTIONS)
    await simulation.pass_time(timedelta(seconds=40))
    node.crash()
    gate.set()
    await simulation.node(app, options=OPTIONS)
    expect_equal(await simulation.output("turn"), "hello", "the turn that was under way")
    expect_equal(await simulation.output("activity"), "hello", "the activity that was under way")


def begins_or_ends(operation: str, argument: object) -> bool:
    """Whether a call stores what came of a turn of `turn`, or of an activity."""
    if isinstance(argument, TurnCommit):
        return argument.instance == "turn" or bool(argument.finish)
    return operation == "complete_activity"


def unlucky(gate: asyncio.Event) -> Registry:
    """Work that does no harm, and an activity that keeps a process busy."""
    app = Registry()

    @app.activity
    async def work() -> str:
        return "hello"

    @app.activity
    async def keep_busy() -> None:
        await gate.wait()

    @app.orchestration
    async def hello(ctx: OrchestrationContext) -> str:
        return "hello"

    @app.orchestration
    async def work_then_hello(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(work)

    @app.orchestration
    async def be_busy(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity(keep_busy)

    return app


@scenario("SCENARIO-21b")
async def undecodable_data_is_kept_and_shown(simulation: Simulation) -> None:
    """A message that cannot be decoded parks its instance, visibly; the message and those behind it are kept, and no other instance is affected."""
    client, app = simulation.client, deadly(Killer(simulation))
    await simulation.node(app)
    await client.start_orchestration("alpha", "innocent")
    await client.start_orchestration("beta", "innocent")
    await simulation.until_recorded("alpha", WaitCreated)
    garbage = Message(id="garbage", instance="alpha", kind=MessageKind.EVENT, data=b"\x00\xff")
    await simulation.bench.send(garbage)
    await client.raise_event("alpha", "go")
    await simulation.until(lambda: is_marked(simulation, "alpha"), "the mark")
    status = await client.get_orchestration_status("alpha")
    parked = status.parked if isinstance(status, Running) else None
    expect(parked is not None and parked.reason == "undecodable", f"the status is {status}")
    expect(parked is not None and "garbage" in parked.details, f"the details are {parked}")
    await client.raise_event("beta", "go")
    expect_equal(await simulation.output("beta"), "done", "output of the other instance")
    await simulation.pass_time(timedelta(seconds=40))
    expect_equal(len(await simulation.recorded("alpha", WaitCreated)), 1, "waits recorded")
    if client.has_management_capability():
        depths = await client.get_queue_depths()
        expect_equal(depths.orchestrator_queue, 2, "messages that are kept")


@scenario("SCENARIO-21f")
async def an_undecodable_instance_can_be_cancelled(simulation: Simulation) -> None:
    """An instance that is parked for a message that cannot be decoded ends as cancelled when it is cancelled, though what its cleanup waits for lies behind that message."""
    client, app = simulation.client, Registry()

    @app.orchestration
    async def cleans_up(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_wait("go")
        finally:
            await ctx.schedule_wait("cleaned")

    await simulation.node(app)
    await client.start_orchestration("alpha", "cleans_up")
    await simulation.until_recorded("alpha", WaitCreated)
    garbage = Message(id="garbage", instance="alpha", kind=MessageKind.EVENT, data=b"\x00\xff")
    await simulation.bench.send(garbage)
    await simulation.until(lambda: is_marked(simulation, "alpha"), "the mark")
    await client.cancel_instance("alpha", "give up")
    expected = ApplicationFailure(Cancelled(reason="give up"))
    expect_equal(await simulation.failure("alpha"), expected, "how it ended")


async def is_marked(simulation: Simulation, instance: str) -> bool:
    """Whether an instance is parked."""
    status = await simulation.client.get_orchestration_status(instance)
    return isinstance(status, Running) and status.parked is not None
