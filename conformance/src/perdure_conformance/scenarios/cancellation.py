"""Cancellation: once, of everything, with room to clean up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions, activity_context
from perdure.history import (
    ActivityCompleted,
    ActivityScheduled,
    CancelRequested,
    ChildFailed,
    EventRaised,
    TimerFired,
    WaitCreated,
)
from perdure.model.details import ApplicationFailure, Cancelled
from perdure.observe import ActivityEnded, ActivityStarted

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.simulation import SOON, Node, Simulation, expect_soon, scenario


def cancellable(log: list[str]) -> Registry:
    """Orchestrations that wait, and activities that clean up."""
    app = Registry()

    @app.activity
    async def note(text: str) -> str:
        log.append(text)
        return text

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    @app.orchestration
    async def wait_then_work(ctx: OrchestrationContext) -> str:
        await ctx.schedule_wait("go", str)
        return await ctx.schedule_activity(note, "worked")

    @app.orchestration
    async def clean_up(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_wait("go", str)
        finally:
            await ctx.schedule_activity(note, "cleaned")
            await asyncio.sleep(60)
            await ctx.schedule_activity(note, "cleaned again")

    @app.orchestration
    async def swallow(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_wait("go", str)
        except asyncio.CancelledError:
            return await ctx.schedule_activity(note, "swallowed")

    @app.orchestration
    async def never_clean(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_wait("go")
        finally:
            await ctx.schedule_wait("never")

    return app


async def expect_cancelled(simulation: Simulation, instance: str, reason: str) -> None:
    """Complain unless the instance ends as cancelled for this reason."""
    details = await simulation.failure(instance)
    expect_equal(details, ApplicationFailure(Cancelled(reason=reason)), f"the end of {instance!r}")
    expect_equal(details.display_message(), f"canceled: {reason}", "the message")


@scenario("SCENARIO-6")
async def a_cancel_that_comes_late_does_nothing(simulation: Simulation) -> None:
    """Cancelling a finished instance changes nothing; cancelling twice is cancelling once, for the first reason."""
    client = simulation.client
    node = await simulation.node(cancellable([]))
    await client.start_orchestration("done", "wait")
    await client.raise_event("done", "go", '"yes"')
    expect_equal(await simulation.output("done"), "yes", "output")
    await client.start_orchestration("live", "clean_up")
    await simulation.until_recorded("live", WaitCreated)
    await client.cancel_instance("live", "first")
    await simulation.until_recorded("live", CancelRequested)
    await client.cancel_instance("live", "second")
    await expect_cancelled(simulation, "live", "first")
    expect_equal(len(await simulation.recorded("live", CancelRequested)), 1, "requests recorded")
    await node.stop()
    await client.start_orchestration("batch", "wait")
    await client.cancel_instance("batch", "first")
    await client.cancel_instance("batch", "second")
    await simulation.node(cancellable([]))
    await expect_cancelled(simulation, "batch", "first")
    for instance in ("done", "live", "batch"):
        before = await simulation.state(instance), await simulation.history(instance)
        await client.cancel_instance(instance, "late")
        await simulation.pass_time(timedelta(seconds=3))
        after = await simulation.state(instance), await simulation.history(instance)
        expect_equal(after, before, f"{instance!r} after a cancel")


@scenario("SCENARIO-8")
async def cancel_wins_over_what_came_with_it(simulation: Simulation) -> None:
    """A cancellation that arrives in one batch with the event that would complete the instance wins, in either order and in replay too; nothing is scheduled without its work, and no work is done that was not scheduled."""
    log: list[str] = []
    client = simulation.client
    node = await simulation.node(cancellable(log))
    names = [f"{what}-{order}" for what in ("wait", "wait_then_work") for order in ("ec", "ce")]
    for name in names:
        await client.start_orchestration(name, name.partition("-")[0])
        await simulation.until_recorded(name, WaitCreated)
    await node.stop()
    for name in names:
        for step in name.rpartition("-")[2]:
            if step == "e":
                await client.raise_event(name, "go", '"yes"')
            else:
                await client.cancel_instance(name, "enough")
    await simulation.node(cancellable(log))
    for name in names:
        await expect_cancelled(simulation, name, "enough")
        expect_equal(await simulation.recorded(name, ActivityScheduled), [], "activities scheduled")
    await simulation.pass_time(timedelta(seconds=40))
    expect_equal(log, [], "activities that ran")


@scenario("SCENARIO-10")
async def cleanup_runs_before_the_end(simulation: Simulation) -> None:
    """CancelledError arrives at the await; cleanup may schedule and await activities and timers; swallowed or not, the instance fails as cancelled, with the reason; also over restarts in the midst of it."""
    log: list[str] = []
    client = simulation.client
    node = await simulation.node(cancellable(log))
    for name in ("clean_up", "swallow"):
        await client.start_orchestration(name, name)
        await simulation.until_recorded(name, WaitCreated)
        await client.cancel_instance(name, "enough")
    await expect_cancelled(simulation, "swallow", "enough")
    await simulation.until_recorded("clean_up", ActivityCompleted)
    expect_equal(sorted(log), ["cleaned", "swallowed"], "activities that ran")
    await node.stop()
    await simulation.node(cancellable(log))
    await expect_cancelled(simulation, "clean_up", "enough")
    expect_equal(log[2:], ["cleaned again"], "activities that ran after a restart")


@scenario("SCENARIO-10a")
async def cleanup_has_a_limit(simulation: Simulation) -> None:
    """A cleanup that does not end is ended when the cleanup timeout is over, and not before."""
    limit = timedelta(seconds=90)
    options = RuntimeOptions(cleanup_timeout=limit)
    await simulation.node(cancellable([]), options=options)
    await simulation.client.start_orchestration("alpha", "never_clean")
    await simulation.until_recorded("alpha", WaitCreated)
    await simulation.client.cancel_instance("alpha", "enough")
    await simulation.until_recorded("alpha", WaitCreated, 2)
    began = simulation.clock.now()
    await expect_cancelled(simulation, "alpha", "enough")
    took = timedelta(microseconds=simulation.clock.now() - began)
    expect(limit - SOON <= took <= limit + SOON, f"it was ended after {took}")
    expect_equal(len(await simulation.recorded("alpha", TimerFired)), 1, "timers fired")


class RunningActivities:
    """Activities that go on until they are cancelled, and what became of them."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        """When each was told, on the clock."""
        self.cancelled: dict[str, int] = {}
        """When each got CancelledError."""


def family(simulation: Simulation, running: RunningActivities, place: str) -> Registry:
    """An activity of one place, which watches for its cancellation."""
    app = Registry()

    @app.activity(name=place)
    async def work() -> str:
        context = activity_context()
        try:
            while True:
                if context.cancel_requested:
                    running.told.setdefault(place, simulation.clock.now())
                await simulation.clock.sleep(timedelta(milliseconds=100))
        except asyncio.CancelledError:
            running.cancelled[place] = simulation.clock.now()
            raise

    return app


def parents(app: Registry) -> Registry:
    """A parent, its child and its grandchild."""

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> object:
        return await asyncio.gather(
            ctx.schedule_activity("here"),
            ctx.schedule_activity("elsewhere"),
            ctx.schedule_sub_orchestration("child", instance="child"),
        )

    @app.orchestration
    async def child(ctx: OrchestrationContext) -> object:
        return await ctx.schedule_sub_orchestration("grandchild", instance="grandchild")

    @app.orchestration
    async def grandchild(ctx: OrchestrationContext) -> object:
        return await ctx.schedule_wait("never")

    @app.orchestration
    async def watcher(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration("grandchild", instance="lone child")
        except Exception as error:  # noqa: BLE001 # the scenario checks what it is
            await ctx.schedule_wait("go")
            return str(error)
        return "completed"

    return app


@scenario("SCENARIO-9")
async def everything_beneath_is_cancelled(simulation: Simulation) -> None:
    """Cancelling an instance cancels its activities, children and grandchildren; activities in the process that commits are told at once, others within the poll interval where the provider tells of cancellations, and at their next renewal at the latest; after the grace period they get CancelledError; their results are not recorded."""
    running = RunningActivities()
    options = RuntimeOptions(cancel_grace=timedelta(seconds=10))
    here = parents(family(simulation, running, "here"))
    await simulation.node(here, options=options)
    await simulation.node(family(simulation, running, "elsewhere"), options=options)
    await simulation.client.start_orchestration("parent", "parent")
    await simulation.until(
        lambda: len(simulation.observer.saw(ActivityStarted)) == 2, "two activities"
    )
    await simulation.until(lambda: exists(simulation, "grandchild"), "the grandchild")
    began = simulation.clock.now()
    await simulation.client.cancel_instance("parent", "enough")
    for instance in ("parent", "child", "grandchild"):
        await expect_cancelled(simulation, instance, "enough")
    expect_soon(since(simulation, began), "the end of three generations")
    await simulation.until(lambda: len(running.cancelled) == 2, "CancelledError in both activities")
    told = {place: timedelta(microseconds=at - began) for place, at in running.told.items()}
    expect_soon(told["here"], "telling an activity in the same process")
    limit = SOON if simulation.bench.provider.tells_of_cancellations else timedelta(seconds=11)
    expect(told["elsewhere"] <= limit, f"told elsewhere after {told['elsewhere']}")
    for place, at in running.cancelled.items():
        grace = timedelta(microseconds=at - running.told[place])
        expect(timedelta(seconds=9) < grace < timedelta(seconds=12), f"{place}: grace of {grace}")
    await simulation.settle()
    expect_equal(
        {e.outcome for e in simulation.observer.saw(ActivityEnded)}, {"cancelled"}, "outcomes"
    )
    expect_equal(await simulation.recorded("parent", ActivityCompleted), [], "results recorded")


@scenario("SCENARIO-9a")
async def a_parent_is_told_once_of_a_cancelled_child(simulation: Simulation) -> None:
    """A child that is cancelled on its own reports it to its parent once."""
    await simulation.node(parents(Registry()))
    await simulation.client.start_orchestration("parent", "watcher")
    await simulation.until(lambda: exists(simulation, "lone child"), "the child")
    await simulation.client.cancel_instance("lone child", "enough")
    await simulation.client.cancel_instance("lone child", "enough")
    await simulation.until_recorded("parent", ChildFailed)
    await simulation.client.raise_event("parent", "go")
    message = str(await simulation.output("parent"))
    expect(message.endswith("canceled: enough"), f"what the parent got: {message}")
    expect_equal(len(await simulation.recorded("parent", ChildFailed)), 1, "failures in the parent")


@scenario("SCENARIO-9b")
async def results_after_the_cancellation_are_dropped(simulation: Simulation) -> None:
    """An activity that returns a result after it was cancelled has no effect, also while its orchestration still cleans up."""
    app, gate = Registry(), asyncio.Event()

    @app.activity
    async def slow() -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_activity(slow)
        finally:
            await ctx.schedule_wait("cleaned")

    node: Node = await simulation.node(app)
    await simulation.client.start_orchestration("alpha", "flow")
    await simulation.until(lambda: bool(simulation.observer.saw(ActivityStarted)), "the activity")
    await simulation.client.cancel_instance("alpha", "enough")
    await simulation.until_recorded("alpha", WaitCreated)
    await simulation.pass_time(timedelta(seconds=15))
    gate.set()
    await simulation.until(
        lambda: node.runtime.statistics.activities_running == 0, "the activity's end"
    )
    await simulation.pass_time(timedelta(seconds=5))
    expect_equal(await simulation.recorded("alpha", ActivityCompleted), [], "results recorded")
    await simulation.client.raise_event("alpha", "cleaned")
    await expect_cancelled(simulation, "alpha", "enough")
    expect_equal(len(await simulation.recorded("alpha", EventRaised)), 1, "events recorded")


class Bank:
    """Charges when it may, in any process, and records whether it was asked to end."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.charged: list[bool] = []
        """For each charge, whether it was asked to end."""
        self.refunded: list[str] = []

    def registry(self) -> Registry:
        """An order that is charged with its outcome waited for, and refunded when cancelled."""
        app = Registry()

        @app.activity
        async def charge() -> str:
            context = activity_context()
            await self.open.wait()
            self.charged.append(context.cancel_requested)
            return f"receipt {context.delivery}"

        @app.activity
        async def refund(receipt: str) -> None:
            self.refunded.append(receipt)

        @app.orchestration
        async def pay(ctx: OrchestrationContext) -> str:
            charging = ctx.schedule_activity(charge, cancellation="wait")
            try:
                await charging
                await ctx.schedule_wait("shipped")
            except asyncio.CancelledError:
                await ctx.schedule_activity(refund, await charging)
                raise
            return charging.result()

        return app


@scenario("SCENARIO-9c")
async def the_outcome_of_cancelled_work_is_waited_for(simulation: Simulation) -> None:
    """An activity that is scheduled with `cancellation="wait"` completes: it is asked to end by the process that commits the cancellation, its outcome is recorded, also over a crash, and the orchestration has it when CancelledError goes on."""
    bank = Bank()
    node = await simulation.node(bank.registry())
    for instance in ("asked", "crashed"):
        await simulation.client.start_orchestration(instance, "pay")
        await simulation.until_recorded(instance, ActivityScheduled)
        await simulation.client.cancel_instance(instance, "enough")
        await simulation.until_recorded(instance, CancelRequested)
        await simulation.pass_time(timedelta(seconds=20))
        if instance == "crashed":
            node.crash()
            await simulation.node(bank.registry())
        bank.open.set()
        await expect_cancelled(simulation, instance, "enough")
        completed = await simulation.recorded(instance, ActivityCompleted)
        expect_equal(len(completed), 2, f"outcomes of {instance!r}: the charge and the refund")
        bank.open.clear()
    expect_equal(bank.charged[0], True, "whether the charge was asked to end")
    expect_equal(bank.refunded, ["receipt 1", "receipt 2"], "what was refunded")


async def exists(simulation: Simulation, instance: str) -> bool:
    """Whether an instance has run its first turn."""
    state = await simulation.bench.provider.read_instance(instance)
    return state is not None and state.last_event > 0


def since(simulation: Simulation, began: int) -> timedelta:
    """How much time has passed on the clock."""
    return timedelta(microseconds=simulation.clock.now() - began)
