"""Leases: lost, taken over, given back; late calls change nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions, activity_context
from perdure.contract import Message, MessageKind, TurnCommit
from perdure.history import ActivityCompleted, ActivityScheduled, TimerFired, WaitCreated
from perdure.model.wire import CancelData, ResultData, encode_cancel, encode_result
from perdure.observe import ActivityStarted, TurnLost

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import SOON, Node, Simulation, expect_soon, scenario

NO_RENEWAL = frozenset({"renew_turns", "renew_activities"})
ALL_CHECKS = NO_RENEWAL | {
    "lease_turns",
    "lease_activities",
    "commit_turn",
    "complete_activity",
    "release_turn",
    "release_activity",
}
LEASE = timedelta(seconds=30)
PAST_LEASE = timedelta(seconds=31)


class Deliveries:
    """An activity that says which delivery it was, each delivery when it is let."""

    def __init__(self, *free: int) -> None:
        self._gates: dict[int, asyncio.Event] = {}
        self.keys: list[str] = []
        for delivery in free:
            self.let(delivery)

    def let(self, delivery: int) -> None:
        """Let a delivery return."""
        self._gate(delivery).set()

    def _gate(self, delivery: int) -> asyncio.Event:
        return self._gates.setdefault(delivery, asyncio.Event())

    def registry(self) -> Registry:
        """The activity `deliver`."""
        app = Registry()

        @app.activity
        async def deliver() -> int:
            context = activity_context()
            self.keys.append(context.idempotency_key)
            await self._gate(context.delivery).wait()
            return context.delivery

        @app.activity
        def deliver_in_a_thread() -> int:
            return activity_context().delivery

        return app


def flows() -> Registry:
    """Orchestrations around `deliver`."""
    app = Registry()

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> int:
        return await ctx.schedule_activity("deliver", result_type=int)

    @app.orchestration
    async def after_event(ctx: OrchestrationContext, activity: str) -> int:
        await ctx.schedule_wait("go")
        return await ctx.schedule_activity(activity, result_type=int)

    @app.orchestration
    async def forget(ctx: OrchestrationContext, executions: int) -> str:
        ctx.schedule_activity("deliver")
        ctx.schedule_timer(60)
        await ctx.schedule_wait("go")
        if executions > 1:
            ctx.continue_as_new(executions - 1)
        return "done"

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    return app


def deliveries(simulation: Simulation) -> list[int]:
    """The deliveries that began."""
    return [event.delivery for event in simulation.observer.saw(ActivityStarted)]


@scenario("SCENARIO-17")
async def what_comes_late_is_dropped(simulation: Simulation) -> None:
    """Results, timers and cancellations are dropped when they arrive after their instance ended or continued as new, or when they address another incarnation of the id."""
    client, work = simulation.client, Deliveries()
    await simulation.node(flows())
    worker = await simulation.node(work.registry())
    for instance, executions in (("ended", "1"), ("continued", "2")):
        await client.start_orchestration(instance, "forget", executions)
        await simulation.until_recorded(instance, WaitCreated)
        await simulation.until(
            lambda i=instance: began(simulation, i), f"the activity of {instance!r}"
        )
        await client.raise_event(instance, "go")
    expect_equal(await simulation.output("ended"), "done", "output")
    await simulation.until(lambda: second_begun(simulation), "the second execution")
    before = {name: await simulation.state(name) for name in ("ended", "continued")}
    for instance, state in before.items():
        await simulation.bench.send(*late_messages(instance, state.incarnation))
    work.let(1)
    await simulation.until(
        lambda: worker.runtime.statistics.activities_running <= 1, "the late ones"
    )
    await simulation.pass_time(timedelta(seconds=20))
    expect_equal(await simulation.state("ended"), before["ended"], "the ended instance")
    await client.raise_event("continued", "go")
    expect_equal(await simulation.output("continued"), "done", "output of the continued one")
    await simulation.pass_time(timedelta(seconds=90))
    for execution in (1, 2):
        fired = await simulation.recorded("continued", TimerFired, execution)
        expect_equal(fired, [], f"timers fired in execution {execution}")
    expect_equal(
        len(await simulation.recorded("continued", ActivityCompleted, 1)), 0, "late results"
    )


def late_messages(instance: str, incarnation: str) -> list[Message]:
    """Messages of the first execution, and of an incarnation that is gone."""
    stale = ResultData(scheduled=2, result='"stale"')

    def message(kind: MessageKind, incarnation: str, data: bytes) -> Message:
        return Message(
            id=f"late {kind} {incarnation}",
            instance=instance,
            kind=kind,
            incarnation=incarnation,
            execution=None if kind is MessageKind.CANCEL else 1,
            data=data,
        )

    cancel = encode_cancel(CancelData(reason="of a namesake"))
    return [
        message(MessageKind.ACTIVITY, incarnation, encode_result(stale)),
        message(MessageKind.TIMER, incarnation, encode_result(ResultData(scheduled=3))),
        message(MessageKind.CHILD, incarnation, encode_result(stale)),
        message(MessageKind.ACTIVITY, "gone", encode_result(stale)),
        message(MessageKind.CANCEL, "gone", cancel),
    ]


def began(simulation: Simulation, instance: str) -> bool:
    """Whether an activity of the instance has begun."""
    return any(event.instance == instance for event in simulation.observer.saw(ActivityStarted))


async def second_begun(simulation: Simulation) -> bool:
    """Whether the second execution of `continued` waits."""
    state = await simulation.state("continued")
    return state.execution == 2 and state.last_event > 0


@scenario("SCENARIO-18")
async def a_late_commit_is_refused_whole(simulation: Simulation) -> None:
    """A commit that arrives after its lease ran out, while another runtime went on, is refused as a whole; the other runtime's turn stands, and no step is done twice."""
    work = Deliveries(1, 2)
    slow = await simulation.node(flows(), work.registry())
    await simulation.client.start_orchestration_typed("alpha", "after_event", "deliver")
    await simulation.until_recorded("alpha", WaitCreated)
    held = Held(lambda operation, _: operation == "commit_turn", silenced=NO_RENEWAL)
    slow.link.disturbance = held
    await simulation.client.raise_event("alpha", "go")
    await simulation.until(lambda: held.caught == 1, "the commit that will be late")
    held.silenced |= {"lease_turns", "lease_activities"}
    await simulation.node(flows(), work.registry())
    expect_equal(await simulation.output("alpha"), 1, "delivery")
    before = await simulation.state("alpha"), await simulation.history("alpha")
    held.let_through()
    await simulation.until(lambda: bool(simulation.observer.saw(TurnLost)), "the loss")
    await simulation.pass_time(PAST_LEASE)
    after = await simulation.state("alpha"), await simulation.history("alpha")
    expect_equal(after, before, "the instance after the late commit")
    expect_equal(deliveries(simulation), [1], "deliveries that began")


@scenario("SCENARIO-19")
async def a_killed_workers_activity_is_delivered_again(simulation: Simulation) -> None:
    """An activity whose worker dies is delivered again when its lease runs out, counted, under the same idempotency key; one result is recorded."""
    work = Deliveries(3)
    node = await simulation.node(flows(), work.registry())
    await simulation.client.start_orchestration("alpha", "flow")
    for delivery in (1, 2):
        await simulation.until(
            lambda d=delivery: d in deliveries(simulation), f"delivery {delivery}"
        )
        node.crash()
        began = simulation.clock.now()
        node = await simulation.node(flows(), work.registry())
        await simulation.until(
            lambda d=delivery: d + 1 in deliveries(simulation), "the next delivery"
        )
        took = timedelta(microseconds=simulation.clock.now() - began)
        expect(took <= LEASE + SOON, f"it was delivered again after {took}")
    expect_equal(await simulation.output("alpha"), 3, "the delivery that counted")
    expect_equal(deliveries(simulation), [1, 2, 3], "deliveries that began")
    expect_equal(len(set(work.keys)), 1, "idempotency keys")
    expect_equal(len(await simulation.recorded("alpha", ActivityCompleted)), 1, "results recorded")


@scenario("SCENARIO-20")
async def a_late_result_is_refused(simulation: Simulation) -> None:
    """When an activity's lease runs out and a second worker takes it, the first worker's result is refused, whether it comes before or after the second one; the second result counts."""
    await simulation.node(flows())
    for instance, order in (("first late", (2, 1)), ("first early", (1, 2))):
        work = Deliveries()
        first = await simulation.node(work.registry())
        # It does not learn that its lease is gone: a release now would take the count back.
        first.link.disturbance = Held(nothing, silenced=NO_RENEWAL | {"wait_for_cancellation"})
        await simulation.client.start_orchestration(instance, "flow")
        await simulation.until(lambda w=work: len(w.keys) == 1, "the first delivery")
        second = await simulation.node(work.registry())
        await simulation.until(lambda w=work: len(w.keys) == 2, "the second delivery")
        for delivery in order:
            work.let(delivery)
            await simulation.pass_time(timedelta(seconds=3))
        expect_equal(await simulation.output(instance), 2, f"{instance}: the delivery that counted")
        results = await simulation.recorded(instance, ActivityCompleted)
        expect_equal(len(results), 1, f"{instance}: results recorded")
        await second.stop()
        first.crash()


@scenario("SCENARIO-20a")
async def a_late_result_in_a_commit_is_refused(simulation: Simulation) -> None:
    """The same holds when the first worker's result comes in a commit of the instance's own turn: the commit is refused, and the turn goes on with the second result."""
    options = RuntimeOptions(turn_lease=timedelta(minutes=2), activity_lease=timedelta(seconds=10))
    work = Deliveries(1, 2)
    owner = await simulation.node(flows(), work.registry(), options=options)
    held = Held(finishes, silenced=frozenset({"renew_activities"}))
    owner.link.disturbance = held
    await simulation.client.start_orchestration("alpha", "flow")
    await simulation.until(lambda: held.caught == 1, "the commit with the result")
    await simulation.node(work.registry())
    await simulation.until(lambda: deliveries(simulation) == [1, 2], "the second delivery")
    await simulation.settle()
    held.let_through()
    expect_equal(await simulation.output("alpha"), 2, "the delivery that counted")
    expect_equal(len(await simulation.recorded("alpha", ActivityCompleted)), 1, "results recorded")


def nothing(operation: str, argument: object) -> bool:
    """Choose no call."""
    return False


def finishes(operation: str, argument: object) -> bool:
    """Whether a call is a commit that finishes an activity."""
    return operation == "commit_turn" and isinstance(argument, TurnCommit) and bool(argument.finish)


@scenario("SCENARIO-40")
async def a_closed_runtime_leaves_no_lease(simulation: Simulation) -> None:
    """A runtime that is closed with work under way lets turns commit and activities go on for its grace period, then gives back every lease, so that another takes over at once, with the activity's delivery uncounted."""
    client, work = simulation.client, Deliveries()
    options = RuntimeOptions(shutdown_grace=timedelta(seconds=5))
    node = await simulation.node(flows(), work.registry(), options=options)
    waiting = [f"waiting {number}" for number in range(20)]
    for instance in waiting:
        await client.start_orchestration(instance, "wait")
    await client.start_orchestration("working", "flow")
    await simulation.until_recorded("working", ActivityScheduled)
    for instance in waiting:
        await simulation.until_recorded(instance, WaitCreated)
    began = simulation.clock.now()
    await node.stop()
    took = timedelta(microseconds=simulation.clock.now() - began)
    expect(took <= timedelta(seconds=7), f"closing took {took}, with 5 s of grace")
    for instance in waiting:
        await client.raise_event(instance, "go", '"on"')
    work.let(1)
    await simulation.node(flows(), work.registry())
    took = await simulation.until(
        lambda: simulation.have_ended(*waiting, "working"), "the end of all"
    )
    expect_soon(took, "taking over from a runtime that was closed")
    expect_equal(await simulation.output("working"), 1, "the delivery that counted")


@scenario("SCENARIO-40b")
async def what_a_closing_runtime_scheduled_is_not_lost(simulation: Simulation) -> None:
    """An activity that is scheduled by a commit which is under way when its runtime is closed is left for others, who take it at once."""
    for function in ("deliver", "deliver_in_a_thread"):
        work = Deliveries(1)
        node = await simulation.node(flows(), work.registry())
        await simulation.client.start_orchestration_typed(function, "after_event", function)
        await simulation.until_recorded(function, WaitCreated)
        held = Held(lambda operation, _: operation == "commit_turn", after=True)
        node.link.disturbance = held
        await simulation.client.raise_event(function, "go")
        await simulation.until(lambda h=held: h.caught == 1, "the commit with the activity")
        await simulation.meanwhile(node.stop(), held.let_through)
        expect_equal(await simulation.recorded(function, ActivityCompleted), [], "results recorded")
        node = await simulation.node(flows(), work.registry())
        expect_equal(await simulation.output(function), 1, f"output of {function!r}")
        await node.stop()


@scenario("SCENARIO-40a")
async def what_ends_within_the_grace_period_is_recorded(simulation: Simulation) -> None:
    """An activity that ends within the grace period of a runtime that is being closed has its result recorded, and does not run again."""
    work = Deliveries()
    node = await simulation.node(flows(), work.registry())
    await simulation.client.start_orchestration("alpha", "flow")
    await simulation.until(lambda: len(work.keys) == 1, "the activity")
    await simulation.meanwhile(node.stop(), lambda: work.let(1))
    await simulation.node(flows(), work.registry())
    expect_equal(await simulation.output("alpha"), 1, "output")
    expect_equal(deliveries(simulation), [1], "deliveries that began")


@scenario("SCENARIO-52")
async def a_loop_that_stood_still_keeps_its_work(simulation: Simulation) -> None:
    """An activity that keeps the event loop standing for longer than every lease of its process runs once, and its result counts."""
    app = Registry()

    @app.activity
    async def stand_still() -> int:
        simulation.clock.advance(timedelta(hours=1))
        return activity_context().delivery

    await simulation.node(flows(), app)
    for instance in ("alpha", "beta"):
        await simulation.client.start_orchestration_typed(instance, "after_event", "stand_still")
        await simulation.until_recorded(instance, WaitCreated)
        await simulation.client.raise_event(instance, "go")
    for instance in ("alpha", "beta"):
        expect_equal(
            await simulation.output(instance), 1, f"the delivery that counted for {instance!r}"
        )
    expect_equal(deliveries(simulation), [1, 1], "deliveries that began")


@scenario("SCENARIO-52a")
async def processes_that_stand_still_are_not_blamed(simulation: Simulation) -> None:
    """Work whose processes stand still past its lease, one after the other, is taken over each time and never suspected, however often it happens."""
    work, options = Deliveries(), RuntimeOptions(max_attempts=2)
    nodes = [await simulation.node(flows(), work.registry(), options=options) for _ in range(2)]
    await simulation.client.start_orchestration("alpha", "flow")
    await simulation.until(lambda: len(work.keys) == 1, "the first delivery")
    for _ in range(5):
        holder, other = sorted(nodes, key=lambda node: -node.runtime.statistics.activities_running)
        held = Held(nothing, silenced=ALL_CHECKS)
        holder.link.disturbance = held
        await simulation.until(lambda node=other: runs_one(node), "that another took it over")
        held.let_through()
        await simulation.until(lambda node=holder: not runs_one(node), "that the first gave it up")
    for delivery in range(1, 4):
        work.let(delivery)
    expect_equal(await simulation.output("alpha"), 2, "the delivery that counted")


def runs_one(node: Node) -> bool:
    """Whether an activity runs in the node."""
    return node.runtime.statistics.activities_running > 0
