"""Starts under ids that are in use, from many callers at once; starts that begin later."""

from __future__ import annotations

from datetime import timedelta

from perdure import Handle, OrchestrationContext, Registry
from perdure.clock import to_datetime, to_microseconds
from perdure.contract import DELETION, LISTING
from perdure.errors import InstanceAlreadyExists
from perdure.model.details import ApplicationFailure, Cancelled
from perdure.model.status import Running

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.simulation import SELDOM, Simulation, scenario

CALLERS = 12


def echoing() -> Registry:
    """An orchestration that returns its input, and one that starts a child and waits."""
    app = Registry()

    @app.orchestration
    async def echo(ctx: OrchestrationContext, number: int) -> int:
        return number

    @app.orchestration
    async def with_child(ctx: OrchestrationContext) -> int:
        return await ctx.schedule_sub_orchestration(echo, 7, instance="child")

    return app


@scenario("SCENARIO-49")
async def each_of_many_starts_gets_the_one_instance(simulation: Simulation) -> None:
    """Of many starts under one id with if_exists="return", made at once, exactly one runs, and each caller gets a handle of it; so does a later one, when it has ended."""
    client = simulation.client
    await simulation.node(echoing())
    starts = [
        client.start_orchestration("one", "echo", str(number), if_exists="return")
        for number in range(CALLERS)
    ]
    handles = [each for each in await simulation.bench.all_of(starts) if isinstance(each, Handle)]
    expect_equal(len(handles), CALLERS, "callers with a handle")
    ran = await simulation.output("one")
    expect(ran in range(CALLERS), f"what ran: {ran!r}")
    expect_equal({await handle.result(1) for handle in handles}, {ran}, "results of the handles")
    later = await client.start_orchestration("one", "echo", "99", if_exists="return")
    expect_equal(await later.result(1), ran, "result of a start after the end")
    expect_equal((await simulation.state("one")).execution, 1, "executions")


@scenario("SCENARIO-49a", needs=(DELETION, LISTING))
async def one_of_many_starts_replaces_what_has_ended(simulation: Simulation) -> None:
    """Of many starts with if_exists="replace_ended" that are made at once, exactly one replaces the ended instance, with its children, and runs; the others are refused, and so is a start in place of what runs."""
    client = simulation.client
    node = await simulation.node(echoing())
    await client.start_orchestration("one", "with_child")
    expect_equal(await simulation.output("one"), 7, "output of the first instance")
    await node.stop()
    starts = [
        client.start_orchestration("one", "echo", str(number), if_exists="replace_ended")
        for number in range(CALLERS)
    ]
    answers = await simulation.bench.all_of(starts)
    accepted = [n for n, answer in enumerate(answers) if isinstance(answer, Handle)]
    expect_equal(len(accepted), 1, "starts that went through")
    kinds = {type(answer) for answer in answers if isinstance(answer, BaseException)}
    expect_equal(kinds, {InstanceAlreadyExists}, "what the others raised")
    with expect_refusal(InstanceAlreadyExists, "a start in place of what runs"):
        await client.start_orchestration("one", "echo", "99", if_exists="replace_ended")
    await simulation.node(echoing())
    expect_equal(await simulation.output("one"), accepted[0], "output")
    expect_equal(list(await client.list_all_instances()), ["one"], "instances that are left")


@scenario("SCENARIO-49b")
async def a_delayed_start_begins_when_it_is_due(simulation: Simulation) -> None:
    """An instance with a start in the future exists at once, is not run before, over restarts too, and is run then; cancelled before, it ends without being run."""
    client, hour = simulation.client, timedelta(hours=1)
    due = simulation.clock.now() + to_microseconds(hour)
    await client.start_orchestration("by-instant", "echo", "1", start_at=to_datetime(due))
    await client.start_orchestration("by-delay", "echo", "2", delay=hour)
    await client.start_orchestration("cancelled", "echo", "3", delay=hour)
    node = await simulation.node(echoing(), poll=SELDOM)
    await simulation.pass_time(hour / 2)
    await node.stop()
    await simulation.node(echoing(), poll=SELDOM)
    await client.cancel_instance("cancelled", "not needed")
    await simulation.pass_time(hour / 2 - timedelta(minutes=5))
    for instance in ("by-instant", "by-delay"):
        expect_equal(await client.get_orchestration_status(instance), Running(), instance)
    details = await simulation.failure("cancelled")
    expect_equal(details, ApplicationFailure(Cancelled(reason="not needed")), "cancelled")
    expect_equal(await simulation.output("by-instant", within=hour), 1, "output")
    expect_equal(await simulation.output("by-delay", within=hour), 2, "output")
    expect(simulation.clock.now() >= due, "the instances ran before they were due")
