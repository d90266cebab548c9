"""Answers that were lost: the call is made again, and its effect is there once."""

from __future__ import annotations

from perdure import OrchestrationContext, Registry
from perdure.errors import InstanceAlreadyExists
from perdure.history import ActivityCompleted, EventRaised, OrchestrationStarted
from perdure.observe import ActivityStarted

from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.rows.line import losing_answers
from perdure_conformance.rows.stage import Stage, row


def counting() -> Registry:
    """Orchestrations that count what they get."""
    app = Registry()

    @app.activity
    async def work(number: int) -> int:
        return number

    @app.orchestration
    async def take(ctx: OrchestrationContext) -> list[int]:
        """Takes numbers until it is told to end."""
        taken: list[int] = []
        while True:
            number = await ctx.schedule_wait("number", int)
            if number < 0:
                return taken
            taken.append(number)

    @app.orchestration
    async def take_again(ctx: OrchestrationContext, taken: list[int]) -> list[int]:
        """Takes one number an execution until it is told to end."""
        number = await ctx.schedule_wait("number", int)
        if number >= 0:
            ctx.continue_as_new([*taken, number])
        return taken

    @app.orchestration
    async def chain(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.schedule_activity("work", n, result_type=int) for n in range(5)]

    return app


@row("ROW-42")
async def a_clients_call_is_repeated_without_a_second_effect(stage: Stage) -> None:
    """When the answer to a start or to an event is lost, the call is repeated by itself and its effect is there once."""
    client = stage.client
    await stage.node(counting())
    stage.line.disturbance = losing_answers("create_instance")
    start = client.start_orchestration("alpha", "take")
    await stage.play(start, "a start whose answer was lost")
    expect_equal(stage.line.calls["create_instance"], 2, "tries of the start")
    for number in (1, 2, -1):
        stage.line.disturbance = losing_answers("send")
        raised = client.raise_event("alpha", "number", str(number))
        await stage.play(raised, "an event whose answer was lost")
    expect_equal(await stage.output("alpha"), [1, 2], "numbers taken")
    expect_equal(len(await stage.recorded("alpha", EventRaised)), 3, "events recorded")
    expect_equal(len(await stage.recorded("alpha", OrchestrationStarted)), 1, "starts recorded")


@row("ROW-42a")
async def an_event_with_an_id_counts_once(stage: Stage) -> None:
    """An event that its caller raises again under the same event id counts once: while it waits, when it was delivered already, and after continue-as-new."""
    client = stage.client
    await client.raise_event("kept", "number", "1", event_id="one")
    await client.raise_event("kept", "number", "1", event_id="one")
    await client.start_orchestration("kept", "take")
    await client.start_orchestration("renewed", "take_again", "[]")
    await stage.node(counting())
    await stage.until_recorded("kept", EventRaised)
    await client.raise_event("kept", "number", "1", event_id="one")
    for number in (1, 2, 3):
        for _ in range(2):
            await client.raise_event("renewed", "number", str(number), event_id=str(number))

            async def renewed(execution: int = number + 1) -> bool:
                return (await stage.state("renewed")).execution >= execution

            await stage.until(renewed, f"number {number}")
    for number in (1, 2, 3):
        await client.raise_event("renewed", "number", str(number), event_id=str(number))
    for instance, taken in (("kept", [1]), ("renewed", [1, 2, 3])):
        await client.raise_event(instance, "number", "-1")
        expect_equal(await stage.output(instance), taken, f"numbers taken by {instance!r}")


@row("ROW-42b")
async def a_start_that_is_repeated_by_hand_says_so(stage: Stage) -> None:
    """A start that is made again by its caller says InstanceAlreadyExists at worst."""
    await stage.client.start_orchestration("alpha", "chain")
    with expect_refusal(InstanceAlreadyExists, "a start that is made again"):
        await stage.client.start_orchestration("alpha", "chain")
    await stage.node(counting())
    expect_equal(await stage.output("alpha"), [0, 1, 2, 3, 4], "output")


@row("ROW-42c")
async def a_runtimes_call_is_repeated_without_a_second_effect(stage: Stage) -> None:
    """When the answer to a commit or to an activity's completion is lost, even repeatedly, each turn and each result is recorded once."""
    owner = await stage.node(counting())
    owner.line.disturbance = losing_answers("commit_turn", 6)
    await stage.client.start_orchestration("commits", "chain")
    expect_equal(await stage.output("commits"), [0, 1, 2, 3, 4], "output")
    await owner.stop()
    app, work = Registry(), Registry()

    @work.activity(name="work")
    async def work_elsewhere(number: int) -> int:
        return number

    @app.orchestration(name="chain")
    async def chain(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.schedule_activity("work", n, result_type=int) for n in range(5)]

    await stage.node(app)
    worker = await stage.node(work)
    worker.line.disturbance = losing_answers("complete_activity", 5)
    await stage.client.start_orchestration("completions", "chain")
    expect_equal(await stage.output("completions"), [0, 1, 2, 3, 4], "output")
    for instance in ("commits", "completions"):
        completed = await stage.recorded(instance, ActivityCompleted)
        expect_equal(len(completed), 5, f"results recorded in {instance!r}")
    expect_equal(len(stage.witness.saw(ActivityStarted)), 10, "activities that began")
