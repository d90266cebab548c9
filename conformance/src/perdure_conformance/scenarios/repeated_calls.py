"""Lost answers and failing storage: the call is repeated, and its effect is there once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from perdure import OrchestrationContext, Registry
from perdure.errors import InstanceAlreadyExists, StorageUnavailable
from perdure.history import ActivityCompleted, EventRaised, OrchestrationStarted
from perdure.observe import ActivityStarted, InstanceParked

from perdure_conformance.expect import expect, expect_equal, expect_refusal
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
    """While the storage refuses calls and loses answers for hours, and refuses all of them in between, no instance fails, no work is suspected, and what was under way goes on afterwards."""
    client, observer = simulation.client, simulation.observer
    app = counting()

    @app.orchestration
    async def patient(ctx: OrchestrationContext) -> list[int]:
        before = [await ctx.schedule_activity("work", n, result_type=int) for n in range(3)]
        await ctx.schedule_timer(timedelta(hours=2))
        return [*before, *await ctx.schedule_sub_orchestration("chain", result_type=list[int])]

    node = await simulation.node(app)
    node.link.disturbance = failing = Failing()
    for number in range(3):
        await client.start_orchestration(f"alpha {number}", "patient")
    await simulation.pass_time(timedelta(minutes=30))
    failing.refuses_all = True
    await simulation.pass_time(timedelta(hours=2))
    failing.refuses_all = False
    for number in range(3):
        expected = [0, 1, 2, 0, 1, 2, 3, 4]
        took = timedelta(hours=2)
        output = await simulation.output(f"alpha {number}", within=took)
        expect_equal(output, expected, "output")
        state = await simulation.state(f"alpha {number}")
        expect_equal(state.parked, None, "mark")
    expect(failing.refused > 0 and failing.lost > 0, "the storage never failed")
    expect_equal(observer.saw(InstanceParked), [], "instances parked")


class Failing:
    """A disturbance that refuses each third call, and loses the answer of each third one."""

    def __init__(self) -> None:
        self.refuses_all = False
        self.refused = self.lost = 0
        self._calls = 0

    async def __call__(
        self, operation: str, argument: object, call: Callable[[], Awaitable[object]]
    ) -> object:
        del argument
        self._calls += 1
        if self.refuses_all or self._calls % 3 == 1:
            self.refused += 1
            raise StorageUnavailable("the storage is throttled", operation=operation)
        answer = await call()
        if self._calls % 3 == 2:
            self.lost += 1
            raise StorageUnavailable("the answer was lost", operation=operation)
        return answer
