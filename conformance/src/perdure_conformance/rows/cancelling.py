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
from perdure_conformance.rows.stage import SOON, Node, Stage, expect_soon, row


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


async def expect_cancelled(stage: Stage, instance: str, reason: str) -> None:
    """Complain unless the instance ends as cancelled for this reason."""
    details = await stage.failure(instance)
    expect_equal(details, ApplicationFailure(Cancelled(reason=reason)), f"the end of {instance!r}")
    expect_equal(details.display_message(), f"canceled: {reason}", "the message")


@row("ROW-6")
async def a_cancel_that_comes_late_does_nothing(stage: Stage) -> None:
    """Cancelling a finished instance changes nothing; cancelling twice is cancelling once, for the first reason."""
    client = stage.client
    node = await stage.node(cancellable([]))
    await client.start_orchestration("done", "wait")
    await client.raise_event("done", "go", '"yes"')
    expect_equal(await stage.output("done"), "yes", "output")
    await client.start_orchestration("live", "clean_up")
    await stage.until_recorded("live", WaitCreated)
    await client.cancel_instance("live", "first")
    await stage.until_recorded("live", CancelRequested)
    await client.cancel_instance("live", "second")
    await expect_cancelled(stage, "live", "first")
    expect_equal(len(await stage.recorded("live", CancelRequested)), 1, "requests recorded")
    await node.stop()
    await client.start_orchestration("batch", "wait")
    await client.cancel_instance("batch", "first")
    await client.cancel_instance("batch", "second")
    await stage.node(cancellable([]))
    await expect_cancelled(stage, "batch", "first")
    for instance in ("done", "live", "batch"):
        before = await stage.state(instance), await stage.history(instance)
        await client.cancel_instance(instance, "late")
        await stage.pass_time(timedelta(seconds=3))
        after = await stage.state(instance), await stage.history(instance)
        expect_equal(after, before, f"{instance!r} after a cancel")


@row("ROW-8")
async def cancel_wins_over_what_came_with_it(stage: Stage) -> None:
    """A cancellation that arrives in one batch with the event that would complete the instance wins, in either order and in replay too; nothing is scheduled without its work, and no work is done that was not scheduled."""
    log: list[str] = []
    client = stage.client
    node = await stage.node(cancellable(log))
    names = [f"{what}-{order}" for what in ("wait", "wait_then_work") for order in ("ec", "ce")]
    for name in names:
        await client.start_orchestration(name, name.partition("-")[0])
        await stage.until_recorded(name, WaitCreated)
    await node.stop()
    for name in names:
        for step in name.rpartition("-")[2]:
            if step == "e":
                await client.raise_event(name, "go", '"yes"')
            else:
                await client.cancel_instance(name, "enough")
    await stage.node(cancellable(log))
    for name in names:
        await expect_cancelled(stage, name, "enough")
        expect_equal(await stage.recorded(name, ActivityScheduled), [], "activities scheduled")
    await stage.pass_time(timedelta(seconds=40))
    expect_equal(log, [], "activities that ran")


@row("ROW-10")
async def cleanup_runs_before_the_end(stage: Stage) -> None:
    """CancelledError arrives at the await; cleanup may schedule and await activities and timers; swallowed or not, the instance fails as cancelled, with the reason; also over restarts in the midst of it."""
    log: list[str] = []
    client = stage.client
    node = await stage.node(cancellable(log))
    for name in ("clean_up", "swallow"):
        await client.start_orchestration(name, name)
        await stage.until_recorded(name, WaitCreated)
        await client.cancel_instance(name, "enough")
    await expect_cancelled(stage, "swallow", "enough")
    await stage.until_recorded("clean_up", ActivityCompleted)
    expect_equal(sorted(log), ["cleaned", "swallowed"], "activities that ran")
    await node.stop()
    await stage.node(cancellable(log))
    await expect_cancelled(stage, "clean_up", "enough")
    expect_equal(log[2:], ["cleaned again"], "activities that ran after a restart")


@row("ROW-10a")
async def cleanup_has_a_limit(stage: Stage) -> None:
    """A cleanup that does not end is ended when the cleanup timeout is over, and not before."""
    limit = timedelta(seconds=90)
    options = RuntimeOptions(cleanup_timeout=limit)
    await stage.node(cancellable([]), options=options)
    await stage.client.start_orchestration("alpha", "never_clean")
    await stage.until_recorded("alpha", WaitCreated)
    await stage.client.cancel_instance("alpha", "enough")
    await stage.until_recorded("alpha", WaitCreated, 2)
    began = stage.clock.now()
    await expect_cancelled(stage, "alpha", "enough")
    took = timedelta(microseconds=stage.clock.now() - began)
    expect(limit - SOON <= took <= limit + SOON, f"it was ended after {took}")
    expect_equal(len(await stage.recorded("alpha", TimerFired)), 1, "timers fired")


class Labour:
    """Activities that go on until they are cancelled, and what became of them."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        """When each was told, on the clock."""
        self.cancelled: dict[str, int] = {}
        """When each got CancelledError."""


def family(stage: Stage, labour: Labour, place: str) -> Registry:
    """An activity of one place, which watches for its cancellation."""
    app = Registry()

    @app.activity(name=place)
    async def work() -> str:
        context = activity_context()
        try:
            while True:
                if context.cancel_requested:
                    labour.told.setdefault(place, stage.clock.now())
                await stage.clock.sleep(timedelta(milliseconds=100))
        except asyncio.CancelledError:
            labour.cancelled[place] = stage.clock.now()
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
        except Exception as error:  # noqa: BLE001 # whatever it is told is what the row looks at
            await ctx.schedule_wait("go")
            return str(error)
        return "completed"

    return app


@row("ROW-9")
async def everything_beneath_is_cancelled(stage: Stage) -> None:
    """Cancelling an instance cancels its activities, children and grandchildren; activities in the process that commits are told at once, others within the poll interval where the provider tells of cancellations, and at their next renewal at the latest; after the grace period they get CancelledError; their results are not recorded."""
    labour = Labour()
    options = RuntimeOptions(cancel_grace=timedelta(seconds=10))
    here = parents(family(stage, labour, "here"))
    await stage.node(here, options=options)
    await stage.node(family(stage, labour, "elsewhere"), options=options)
    await stage.client.start_orchestration("parent", "parent")
    await stage.until(lambda: len(stage.witness.saw(ActivityStarted)) == 2, "two activities")
    await stage.until(lambda: exists(stage, "grandchild"), "the grandchild")
    began = stage.clock.now()
    await stage.client.cancel_instance("parent", "enough")
    for instance in ("parent", "child", "grandchild"):
        await expect_cancelled(stage, instance, "enough")
    expect_soon(since(stage, began), "the end of three generations")
    await stage.until(lambda: len(labour.cancelled) == 2, "CancelledError in both activities")
    told = {place: timedelta(microseconds=at - began) for place, at in labour.told.items()}
    expect_soon(told["here"], "telling an activity in the same process")
    limit = SOON if stage.lab.provider.tells_of_cancellations else timedelta(seconds=11)
    expect(told["elsewhere"] <= limit, f"told elsewhere after {told['elsewhere']}")
    for place, at in labour.cancelled.items():
        grace = timedelta(microseconds=at - labour.told[place])
        expect(timedelta(seconds=9) < grace < timedelta(seconds=12), f"{place}: grace of {grace}")
    await stage.settle()
    expect_equal({e.outcome for e in stage.witness.saw(ActivityEnded)}, {"cancelled"}, "outcomes")
    expect_equal(await stage.recorded("parent", ActivityCompleted), [], "results recorded")


@row("ROW-9a")
async def a_parent_is_told_once_of_a_cancelled_child(stage: Stage) -> None:
    """A child that is cancelled on its own reports it to its parent once."""
    await stage.node(parents(Registry()))
    await stage.client.start_orchestration("parent", "watcher")
    await stage.until(lambda: exists(stage, "lone child"), "the child")
    await stage.client.cancel_instance("lone child", "enough")
    await stage.client.cancel_instance("lone child", "enough")
    await stage.until_recorded("parent", ChildFailed)
    await stage.client.raise_event("parent", "go")
    message = str(await stage.output("parent"))
    expect(message.endswith("canceled: enough"), f"what the parent was told: {message}")
    expect_equal(len(await stage.recorded("parent", ChildFailed)), 1, "times it was told")


@row("ROW-9b")
async def results_after_the_cancellation_are_dropped(stage: Stage) -> None:
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

    node: Node = await stage.node(app)
    await stage.client.start_orchestration("alpha", "flow")
    await stage.until(lambda: bool(stage.witness.saw(ActivityStarted)), "the activity")
    await stage.client.cancel_instance("alpha", "enough")
    await stage.until_recorded("alpha", WaitCreated)
    await stage.pass_time(timedelta(seconds=15))
    gate.set()
    await stage.until(lambda: node.runtime.statistics.activities_running == 0, "the activity's end")
    await stage.pass_time(timedelta(seconds=5))
    expect_equal(await stage.recorded("alpha", ActivityCompleted), [], "results recorded")
    await stage.client.raise_event("alpha", "cleaned")
    await expect_cancelled(stage, "alpha", "enough")
    expect_equal(len(await stage.recorded("alpha", EventRaised)), 1, "events recorded")


class Bank:
    """Charges when it is let, in whatever process, and says what it was asked."""

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


@row("ROW-9c")
async def the_outcome_of_cancelled_work_is_waited_for(stage: Stage) -> None:
    """An activity that is scheduled with `cancellation="wait"` completes: it is asked to end by the process that commits the cancellation, its outcome is recorded, also over a crash, and the orchestration has it when CancelledError goes on."""
    bank = Bank()
    node = await stage.node(bank.registry())
    for instance in ("asked", "crashed"):
        await stage.client.start_orchestration(instance, "pay")
        await stage.until_recorded(instance, ActivityScheduled)
        await stage.client.cancel_instance(instance, "enough")
        await stage.until_recorded(instance, CancelRequested)
        await stage.pass_time(timedelta(seconds=20))
        if instance == "crashed":
            node.crash()
            await stage.node(bank.registry())
        bank.open.set()
        await expect_cancelled(stage, instance, "enough")
        completed = await stage.recorded(instance, ActivityCompleted)
        expect_equal(len(completed), 2, f"outcomes of {instance!r}: the charge and the refund")
        bank.open.clear()
    expect_equal(bank.charged[0], True, "whether the charge was asked to end")
    expect_equal(bank.refunded, ["receipt 1", "receipt 2"], "what was refunded")


async def exists(stage: Stage, instance: str) -> bool:
    """Whether an instance has run its first turn."""
    state = await stage.lab.provider.read_instance(instance)
    return state is not None and state.last_event > 0


def since(stage: Stage, began: int) -> timedelta:
    """How much time has passed on the clock."""
    return timedelta(microseconds=stage.clock.now() - began)
