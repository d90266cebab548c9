"""Lost answers and failing storage: the call is repeated, and its effect is there once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sized
from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions
from perdure.errors import InstanceAlreadyExists, StorageUnavailable
from perdure.history import ActivityCompleted, EventRaised, OrchestrationStarted, TimerCreated
from perdure.observe import ActivityStarted, InstanceParked

from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.scenarios.link import losing_answers
from perdure_conformance.scenarios.simulation import Simulation, scenario


def counting() -> Registry:
    """Orchestrations that count what they get."""
    app = Registry()

    @app.activity
    async def work(number: int) -> int:
        return number

    @app.orchestration
    async def take(ctx: OrchestrationContext) -> list[int]:
        """Takes numbers until the end event."""
        taken: list[int] = []
        while True:
            number = await ctx.schedule_wait("number", int)
            if number < 0:
                return taken
            taken.append(number)

    @app.orchestration
    async def take_again(ctx: OrchestrationContext, taken: list[int]) -> list[int]:
        """Takes one number an execution until the end event."""
        number = await ctx.schedule_wait("number", int)
        if number >= 0:
            ctx.continue_as_new([*taken, number])
        return taken

    @app.orchestration
    async def chain(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.schedule_activity("work", n, result_type=int) for n in range(5)]

    return app


@scenario("SCENARIO-42")
async def a_clients_call_is_repeated_without_a_second_effect(simulation: Simulation) -> None:
    """When the answer to a start or to an event is lost, the call is repeated by itself and its effect is there once."""
    client = simulation.client
    await simulation.node(counting())
    simulation.link.disturbance = losing_answers("create_instance")
    start = client.start_orchestration("alpha", "take")
    await simulation.run(start, "a start whose answer was lost")
    expect_equal(simulation.link.calls["create_instance"], 2, "tries of the start")
    for number in (1, 2, -1):
        simulation.link.disturbance = losing_answers("send")
        raised = client.raise_event("alpha", "number", str(number))
        await simulation.run(raised, "an event whose answer was lost")
    expect_equal(await simulation.output("alpha"), [1, 2], "numbers taken")
    expect_equal(len(await simulation.recorded("alpha", EventRaised)), 3, "events recorded")
    expect_equal(
        len(await simulation.recorded("alpha", OrchestrationStarted)), 1, "starts recorded"
    )


@scenario("SCENARIO-42a")
async def an_event_with_an_id_counts_once(simulation: Simulation) -> None:
    """An event that its caller raises again under the same event id counts once: while it waits, when it was delivered already, and after continue-as-new."""
    client = simulation.client
    await client.raise_event("kept", "number", "1", event_id="one")
    await client.raise_event("kept", "number", "1", event_id="one")
    await client.start_orchestration("kept", "take")
    await client.start_orchestration("renewed", "take_again", "[]")
    await simulation.node(counting())
    await simulation.until_recorded("kept", EventRaised)
    await client.raise_event("kept", "number", "1", event_id="one")
    for number in (1, 2, 3):
        for _ in range(2):
            await client.raise_event("renewed", "number", str(number), event_id=str(number))

            async def renewed(execution: int = number + 1) -> bool:
                return (await simulation.state("renewed")).execution >= execution

            await simulation.until(renewed, f"number {number}")
    for number in (1, 2, 3):
        await client.raise_event("renewed", "number", str(number), event_id=str(number))
    for instance, taken in (("kept", [1]), ("renewed", [1, 2, 3])):
        await client.raise_event(instance, "number", "-1")
        expect_equal(await simulation.output(instance), taken, f"numbers taken by {instance!r}")


@scenario("SCENARIO-42b")
async def a_start_that_is_repeated_by_hand_says_so(simulation: Simulation) -> None:
    """A start that is made again by its caller says InstanceAlreadyExists at worst."""
    await simulation.client.start_orchestration("alpha", "chain")
    with expect_refusal(InstanceAlreadyExists, "a start that is made again"):
        await simulation.client.start_orchestration("alpha", "chain")
    await simulation.node(counting())
    expect_equal(await simulation.output("alpha"), [0, 1, 2, 3, 4], "output")


@scenario("SCENARIO-42c")
async def a_runtimes_call_is_repeated_without_a_second_effect(simulation: Simulation) -> None:
    """When the answer to a commit or to an activity's completion is lost, even repeatedly, each turn and each result is recorded once."""
    owner = await simulation.node(counting())
    owner.link.disturbance = losing_answers("commit_turn", 6)
    await simulation.client.start_orchestration("commits", "chain")
    expect_equal(await simulation.output("commits"), [0, 1, 2, 3, 4], "output")
    await owner.stop()
    app, work = Registry(), Registry()

    @work.activity(name="work")
    async def work_elsewhere(number: int) -> int:
        return number

    @app.orchestration(name="chain")
    async def chain(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.schedule_activity("work", n, result_type=int) for n in range(5)]

    await simulation.node(app)
    worker = await simulation.node(work)
    worker.link.disturbance = losing_answers("complete_activity", 5)
    await simulation.client.start_orchestration("completions", "chain")
    expect_equal(await simulation.output("completions"), [0, 1, 2, 3, 4], "output")
    for instance in ("commits", "completions"):
        completed = await simulation.recorded(instance, ActivityCompleted)
        expect_equal(len(completed), 5, f"results recorded in {instance!r}")
    expect_equal(len(simulation.observer.saw(ActivityStarted)), 10, "activities that began")


@scenario("SCENARIO-46")
async def a_storage_that_fails_for_hours_fails_no_instance(simulation: Simulation) -> None:
    """While the storage refuses all calls for hours, and refuses calls and loses answers before and after that, no instance fails, no work is suspected, and what was under way goes on afterwards."""
    client, observer = simulation.client, simulation.observer
    app, elsewhere = counting(), Registry()

    @elsewhere.activity
    async def work_elsewhere(number: int) -> int:
        return number

    @app.orchestration
    async def patient(ctx: OrchestrationContext) -> list[int]:
        here = [await ctx.schedule_activity("work", n, result_type=int) for n in range(2)]
        there = [
            await ctx.schedule_activity("work_elsewhere", n, result_type=int) for n in range(2)
        ]
        await ctx.schedule_timer(timedelta(hours=2))
        chained = await ctx.schedule_sub_orchestration("chain", result_type=list[int])
        return [*here, *there, *chained]

    failing = Failing()
    # Neither parks what only the other has registered.
    options = RuntimeOptions(unregistered_interval=timedelta(days=1))
    nodes = [await simulation.node(one, options=options) for one in (app, elsewhere)]
    for node in nodes:
        node.link.disturbance = failing
    instances = [f"alpha {number}" for number in range(3)]
    for instance in instances:
        await client.start_orchestration(instance, "patient")
    await simulation.pass_time(timedelta(minutes=3))
    for instance in instances:
        timers = await simulation.recorded(instance, TimerCreated)
        expect_equal(len(timers), 1, f"timers that {instance!r} came to while calls failed")
    attempts = [activity.attempt for activity in observer.saw(ActivityStarted)]
    expect_equal(attempts, [1] * 4 * len(instances), "attempts of the activities until then")
    # What it runs has ended.
    await nodes[1].stop()
    failing.refuses_all = True
    await simulation.pass_time(timedelta(hours=2))
    failing.refuses_all = False
    for instance in instances:
        output = await simulation.output(instance, within=timedelta(hours=2))
        expect_equal(output, [0, 1, 0, 1, 0, 1, 2, 3, 4], "output")
        state = await simulation.state(instance)
        expect_equal(state.parked, None, "mark")
    expect_equal(observer.saw(InstanceParked), [], "instances parked")
    important = {"lease_turns", "commit_turn", "lease_activities", "complete_activity"}
    expect_equal(important - failing.lost, set[str](), "calls whose answers were never lost")


class Failing:
    """A disturbance under which each call is refused once, and loses its answer once.

    A call that has lost an empty answer loses the next one too if there is work in it. Therefore
    everything that a runtime leases is lost first, whatever else happens at the same time.
    """

    def __init__(self) -> None:
        self.refuses_all = False
        self.lost: set[str] = set()
        """The operations of which an answer was lost that was not empty."""
        self._failures: defaultdict[tuple[str, object], set[str]] = defaultdict(set)
        """How each call that is under way has failed so far."""

    async def __call__(
        self, operation: str, argument: object, call: Callable[[], Awaitable[object]]
    ) -> object:
        failures = self._failures[operation, _identity(argument)]
        if self.refuses_all or "refused" not in failures:
            failures.add("refused")
            raise StorageUnavailable("the storage is throttled", operation=operation)
        answer = await call()
        is_empty = isinstance(answer, Sized) and not answer
        failure = "empty answer lost" if is_empty else "answer lost"
        if failure not in failures:
            failures.add(failure)
            if not is_empty:
                self.lost.add(operation)
            raise StorageUnavailable("the answer was lost", operation=operation)
        del self._failures[operation, _identity(argument)]
        return answer


def _identity(argument: object) -> object:
    """What the tries of a call have in common: its id or its token, where it has one."""
    return getattr(argument, "id", None) or getattr(argument, "token", None) or repr(argument)
