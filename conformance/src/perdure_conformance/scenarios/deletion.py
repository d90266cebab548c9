"""Termination and deletion at any moment: what is gone stays gone, its id is free, who waits is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from perdure import Client, OrchestrationContext, Registry
from perdure.contract import DELETION, LISTING, RECOVERY
from perdure.errors import InstanceRunning, SubOrchestrationFailed
from perdure.history import ActivityScheduled, ChildFailed, ChildScheduled, WaitCreated
from perdure.model.details import ApplicationFailure, Cancelled, Terminated
from perdure.model.status import Failed, NotFound

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.link import Held, Link
from perdure_conformance.scenarios.simulation import Simulation, scenario

_NEEDS = (DELETION, LISTING, RECOVERY)


class Gates:
    """Holds each activity until its gate is opened."""

    def __init__(self) -> None:
        self._open: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.given_up: list[str] = []
        """The texts of the activities that were cancelled at their gates."""

    async def wait(self, text: str) -> None:
        """Return when the gate of this text is open."""
        try:
            await self._open[text].wait()
        except asyncio.CancelledError:
            self.given_up.append(text)
            raise

    def open(self, text: str) -> None:
        """Let the activities with this text go on."""
        self._open[text].set()


def family(gates: Gates | None = None) -> Registry:
    """A parent with a child, and an orchestration with an activity that waits at a gate."""
    app = Registry()

    @app.activity
    async def hold(text: str) -> str:
        if gates is not None:
            await gates.wait(text)
        return text

    @app.orchestration
    async def work(ctx: OrchestrationContext, text: str) -> str:
        return await ctx.schedule_activity(hold, text)

    @app.orchestration
    async def wait(ctx: OrchestrationContext, text: str) -> str:
        return f"{text} {await ctx.schedule_wait('go', str)}"

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_sub_orchestration(wait, "child got", instance="child")
        except SubOrchestrationFailed as error:
            return error.details.display_message()

    @app.orchestration
    async def grandparent(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_sub_orchestration(parent, instance="parent")

    return app


def commits_of(instance: str) -> Callable[[str, object], bool]:
    """Chooses the commits of this instance's turns, for a disturbance that holds calls."""
    return lambda operation, argument: (
        operation == "commit_turn" and getattr(argument, "instance", None) == instance
    )


@scenario("SCENARIO-31", needs=_NEEDS)
async def a_deletion_in_the_middle_of_a_turn_stands(simulation: Simulation) -> None:
    """An instance that is deleted while a turn of it is under way is gone: the late turn is refused whole, and a new instance under the id runs as if the old one had never been."""
    client = simulation.client
    await client.start_orchestration_typed("alpha", "wait", "old")
    node = await simulation.node(family())
    await simulation.until_recorded("alpha", WaitCreated)
    node.link.disturbance = held = Held(commits_of("alpha"))
    await client.raise_event_typed("alpha", "go", "event")
    await simulation.until(lambda: held.caught > 0, "the commit of the turn")
    with expect_refusal(InstanceRunning, "a deletion of what runs"):
        await client.delete_instance("alpha")
    deleting = client.delete_instance("alpha", force=True)
    expect_equal(await simulation.run(deleting, "the deletion"), 1, "instances deleted")
    expect_equal(await client.get_orchestration_status("alpha"), NotFound(), "status")
    await client.start_orchestration_typed("alpha", "wait", "new")
    held.let_through()
    await simulation.settle()
    await client.raise_event_typed("alpha", "go", "another")
    expect_equal(await simulation.output("alpha"), "new another", "output of the new instance")
    expect_equal(len(await simulation.recorded("alpha", WaitCreated)), 1, "its waits")


@scenario("SCENARIO-31a", needs=_NEEDS)
async def a_deletion_in_the_middle_of_an_activity_stands(simulation: Simulation) -> None:
    """The result of an activity whose instance was deleted meanwhile is dropped, and a new instance under the id never sees it."""
    client, gates = simulation.client, Gates()
    await client.start_orchestration_typed("alpha", "work", "old")
    await simulation.node(family(gates))
    await simulation.until_recorded("alpha", ActivityScheduled)
    await simulation.settle()
    deleting = client.delete_instance("alpha", force=True)
    expect_equal(await simulation.run(deleting, "the deletion"), 1, "instances deleted")
    await client.start_orchestration_typed("alpha", "work", "new")
    await simulation.until_recorded("alpha", ActivityScheduled)
    await simulation.settle()
    gates.open("old")
    await simulation.settle()
    gates.open("new")
    expect_equal(await simulation.output("alpha"), "new", "output of the new instance")


async def answer_of_the_child(simulation: Simulation) -> Held:
    """The commit with which a child is just about to answer its parent, held."""
    await simulation.client.start_orchestration("parent", "parent")
    node = await simulation.node(family())
    await simulation.until_recorded("child", WaitCreated)
    node.link.disturbance = held = Held(commits_of("child"))
    await simulation.client.raise_event_typed("child", "go", "event")
    await simulation.until(lambda: held.caught > 0, "the commit of the answer")
    return held


@scenario("SCENARIO-51", needs=_NEEDS)
async def a_parent_is_told_of_the_deletion_of_its_child(simulation: Simulation) -> None:
    """A child of a running parent is deleted only with force: the parent then gets SubOrchestrationFailed, kind terminated, once, also if the child was just about to answer."""
    client = simulation.client
    held = await answer_of_the_child(simulation)
    with expect_refusal(InstanceRunning, "a deletion of a running parent's child") as refusal:
        await client.delete_instance("child")
    expect("'parent'" in str(refusal.error), f"what the refusal names: {refusal.error}")
    await simulation.run(client.delete_instance("child", force=True), "the deletion")
    held.let_through()
    told = ApplicationFailure(Terminated(reason="the instance was deleted")).display_message()
    expect_equal(await simulation.output("parent"), told, "what the parent was told")
    expect_equal(len(await simulation.recorded("parent", ChildFailed)), 1, "answers of the child")
    expect_equal(await client.get_orchestration_status("child"), NotFound(), "status of the child")


@scenario("SCENARIO-51a", needs=_NEEDS)
async def a_tree_that_is_deleted_does_not_come_back(simulation: Simulation) -> None:
    """A tree that is deleted with force while a child is about to answer is gone whole, and both ids are free."""
    client = simulation.client
    held = await answer_of_the_child(simulation)
    deleting = client.delete_instance("parent", force=True)
    expect_equal(await simulation.run(deleting, "the deletion"), 2, "instances deleted")
    held.let_through()
    await simulation.settle()
    for instance in ("parent", "child"):
        status = await client.get_orchestration_status(instance)
        expect_equal(status, NotFound(), f"status of {instance}")
    await client.start_orchestration("parent", "parent")
    await simulation.until_recorded("child", WaitCreated)
    await client.raise_event_typed("child", "go", "another")
    expect_equal(await simulation.output("parent"), "child got another", "output of the new tree")


@scenario("SCENARIO-51b", needs=_NEEDS)
async def a_deletion_that_was_killed_is_finished_by_the_next(simulation: Simulation) -> None:
    """A process that is killed at any call of a deletion leaves a tree that its root still leads to, and the next deletion removes the rest."""
    await simulation.node(family())
    killed_at, finished = 0, False
    while not finished:
        root = await grown(simulation, killed_at)
        finished = not await killed_deletion(simulation, root, killed_at)
        if not finished:
            status = await simulation.client.get_orchestration_status(root)
            left = simulation.client.delete_instance(root, force=True)
            deleted = await simulation.run(left, "the next deletion")
            expect((deleted > 0) is (status != NotFound()), f"{deleted} deleted of {status}")
        for instance in (root, "parent", "child"):
            status = await simulation.client.get_orchestration_status(instance)
            expect_equal(status, NotFound(), f"{instance} after a kill at call {killed_at}")
        killed_at += 1
    expect(killed_at > 6, f"the deletion of a tree made only {killed_at} calls")


@scenario("SCENARIO-51c", needs=RECOVERY)
async def a_termination_ends_an_instance_at_once(simulation: Simulation) -> None:
    """An instance that is terminated has failed when the call returns, without its cleanup; its activities are cancelled, its children too, and its parent gets the failure once."""
    client, gates = simulation.client, Gates()
    await simulation.node(family(gates))
    await client.start_orchestration_typed("alpha", "work", "text")
    await client.start_orchestration("root", "grandparent")
    await simulation.until_recorded("alpha", ActivityScheduled)
    await simulation.until_recorded("child", WaitCreated)
    details = ApplicationFailure(Terminated(reason="by mistake"))
    for instance in ("alpha", "parent"):
        terminating = client.terminate_instance(instance, "by mistake")
        expect(await simulation.run(terminating, "a termination"), f"{instance} had ended before")
        status = await client.get_orchestration_status(instance)
        expect_equal(status, Failed(details=details), f"status of {instance!r}")
    again = client.terminate_instance("alpha", "again")
    expect(not await simulation.run(again, "a second termination"), "it took effect again")
    await simulation.until(lambda: gates.given_up == ["text"], "the end of the activity")
    expect_equal(
        await simulation.failure("child"),
        ApplicationFailure(Cancelled(reason="the parent ended")),
        "why the child failed",
    )
    message = (await simulation.failure("root")).message
    expect("terminated: by mistake" in message, f"why the parent failed: {message}")
    expect_equal(len(await simulation.recorded("root", ChildFailed)), 1, "answers to the parent")


async def grown(simulation: Simulation, number: int) -> str:
    """A running tree of three; returns the id of its root."""
    root = f"root-{number}"
    await simulation.client.start_orchestration(root, "grandparent")
    await simulation.until_recorded(root, ChildScheduled)
    await simulation.until_recorded("parent", ChildScheduled)
    await simulation.until_recorded("child", WaitCreated)
    return root


class Killed(Exception):
    """Stands for the end of the client's process."""


async def killed_deletion(simulation: Simulation, root: str, at: int) -> bool:
    """Delete a tree from a process that is killed before its nth call; returns whether it was."""
    link = Link(await simulation.bench.open())
    left = at

    async def kill(operation: str, _: object, call: Callable[[], Awaitable[object]]) -> object:
        nonlocal left
        if left == 0:
            raise Killed(operation)
        left -= 1
        return await call()

    link.disturbance = kill
    try:
        deleting = Client(link).delete_instance(root, force=True)
        await simulation.run(deleting, "a deletion that may be killed")
    except Killed:
        return True
    finally:
        await simulation.bench.close(link.inner)
    return False
