"""External events: kept, in order, once each, without delaying others."""

from __future__ import annotations

from datetime import timedelta

from perdure import OrchestrationContext, Registry, RuntimeOptions
from perdure.errors import InvalidPayload, WaitTimeout
from perdure.history import EventRaised, EventRefused, WaitCreated
from perdure.observe import EventRefused as Refused

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.simulation import Simulation, expect_soon, scenario


def listening() -> Registry:
    """Orchestrations that wait for events."""
    app = Registry()

    @app.orchestration
    async def take(ctx: OrchestrationContext, count: int) -> list[int]:
        return [await ctx.schedule_wait("number", int) for _ in range(count)]

    @app.orchestration
    async def take_late(ctx: OrchestrationContext, count: int) -> list[int]:
        await ctx.schedule_wait("begin")
        return [await ctx.schedule_wait("number", int) for _ in range(count)]

    @app.orchestration
    async def take_until_end(ctx: OrchestrationContext) -> list[int]:
        first = await ctx.schedule_wait("number", int)
        await ctx.schedule_wait("end")
        return [first]

    @app.orchestration
    async def hello(ctx: OrchestrationContext) -> str:
        return "hello"

    return app


@scenario("SCENARIO-1")
async def an_event_before_the_start_is_kept(simulation: Simulation) -> None:
    """An event that is raised before its instance starts is kept, over restarts too, and delivered to the first wait of its name after the start; until then it delays no other instance."""
    app, client = listening(), simulation.client
    await client.raise_event("later", "number", "1")
    node = await simulation.node(app)
    await client.raise_event("later", "number", "2")
    await client.start_orchestration("other", "hello")
    took = await simulation.until(
        lambda: simulation.have_ended("other"), "the end of another instance"
    )
    expect_soon(took, "an instance beside one that has not started")
    node.crash()
    await simulation.jump(timedelta(hours=1))
    await client.start_orchestration("later", "take", "3")
    node = await simulation.node(app)
    await simulation.until_recorded("later", EventRaised, 2)
    node.crash()
    await simulation.node(app)
    await client.raise_event("later", "number", "3")
    expect_equal(await simulation.output("later"), [1, 2, 3], "events taken")


@scenario("SCENARIO-2")
async def an_event_before_its_wait_is_kept(simulation: Simulation) -> None:
    """An event that is raised to a running instance before the instance waits for it is delivered when the wait is made, by whichever runtime makes it."""
    app, client = listening(), simulation.client
    node = await simulation.node(app)
    for instance in ("live", "rebuilt"):
        await client.start_orchestration(instance, "take_late", "2")
        await client.raise_event(instance, "number", "1")
        await simulation.until_recorded(instance, EventRaised)
    await client.raise_event("live", "begin")
    await client.raise_event("live", "number", "2")
    expect_equal(await simulation.output("live"), [1, 2], "events taken by a live execution")
    await node.stop()
    await client.raise_event("rebuilt", "number", "2")
    await client.raise_event("rebuilt", "begin")
    await simulation.node(app)
    expect_equal(await simulation.output("rebuilt"), [1, 2], "events taken by a rebuilt execution")


@scenario("SCENARIO-3")
async def events_of_one_name_go_to_waits_in_order(simulation: Simulation) -> None:
    """Of two events of one name, in one batch or in two, the first wait gets the first and the second wait the second, each exactly once."""
    app, client = listening(), simulation.client
    for number in (1, 2):
        await client.raise_event("batch", "number", str(number))
    await client.start_orchestration("batch", "take", "2")
    await client.start_orchestration("single", "take", "2")
    await simulation.node(app)
    expect_equal(await simulation.output("batch"), [1, 2], "events that came in one batch")
    await client.raise_event("single", "number", "1")
    await simulation.until_recorded("single", WaitCreated, 2)
    await client.raise_event("single", "number", "2")
    expect_equal(await simulation.output("single"), [1, 2], "events that came one by one")
    for instance in ("batch", "single"):
        raised = await simulation.recorded(instance, EventRaised)
        expect_equal([event.data for event in raised], ["1", "2"], f"events of {instance!r}")


@scenario("SCENARIO-4")
async def one_wait_takes_one_event(simulation: Simulation) -> None:
    """One wait takes one of two events of one name; the other event is kept until the instance ends, and has no effect."""
    app, client = listening(), simulation.client
    await simulation.node(app)
    await client.start_orchestration("alpha", "take_until_end")
    await client.raise_event("alpha", "number", "1")
    await client.raise_event("alpha", "number", "2")
    await simulation.until_recorded("alpha", EventRaised, 2)
    await client.raise_event("alpha", "end")
    expect_equal(await simulation.output("alpha"), [1], "events taken")
    before = await simulation.state("alpha")
    await client.raise_event("alpha", "number", "3")
    await simulation.pass_time(timedelta(seconds=5))
    expect_equal(await simulation.state("alpha"), before, "an instance that ended, after an event")


@scenario("SCENARIO-7")
async def messages_to_absent_instances_delay_no_others(simulation: Simulation) -> None:
    """Cancelling an id that does not exist has no effect, even on a later instance with that id; an event raised to it is kept; all other instances go on without delay."""
    app, client = listening(), simulation.client
    await simulation.node(app)
    await client.cancel_instance("ghost", "not you")
    for number in range(20):
        await client.raise_event(f"ghost-{number}", "number", "7")
    await client.raise_event("ghost", "number", "7")
    names = [f"other-{number}" for number in range(20)]
    for name in names:
        await client.start_orchestration(name, "hello")
    took = await simulation.until(lambda: simulation.have_ended(*names), "the end of the others")
    expect_soon(took, "instances beside messages to absent ones")
    await client.start_orchestration("ghost", "take", "1")
    expect_equal(await simulation.output("ghost"), [7], "events taken by the instance with that id")


@scenario("SCENARIO-26")
async def hundreds_of_events_arrive_in_order(simulation: Simulation) -> None:
    """Hundreds of events to one instance are all delivered, in order, and other instances keep moving meanwhile."""
    app, client, count = listening(), simulation.client, 200
    await client.start_orchestration("busy", "take", str(count))
    for number in range(count):
        await client.raise_event("busy", "number", str(number))
    others = [f"other-{number}" for number in range(10)]
    for name in others:
        await client.start_orchestration(name, "hello")
    await simulation.node(app, options=RuntimeOptions(max_concurrent_turns=2))
    took = await simulation.until(lambda: simulation.have_ended(*others), "the others' end")
    expect_soon(took, "instances beside hundreds of events")
    expect_equal(await simulation.output("busy"), list(range(count)), "events taken")


@scenario("SCENARIO-45")
async def an_event_that_does_not_fit_is_told_and_the_wait_goes_on(simulation: Simulation) -> None:
    """An event whose data does not fit its wait is consumed, recorded and told to observers, whether it was raised before the wait or after; the wait goes on, over restarts too, and takes the next event that fits."""
    app, client = listening(), simulation.client
    await client.start_orchestration("alpha", "take_late", "2")
    await client.raise_event("alpha", "number", '"early"', event_id="early")
    await client.raise_event("alpha", "begin")
    node = await simulation.node(app)
    await simulation.until_recorded("alpha", EventRefused)
    await client.raise_event("alpha", "number", "1")
    await client.raise_event("alpha", "number", '{"late": true}', event_id="late")
    await simulation.until_recorded("alpha", EventRefused, count=2)
    await node.stop()
    await simulation.node(app)
    await client.raise_event("alpha", "number", "7", event_id="late")
    await client.raise_event("alpha", "number", "2")
    expect_equal(await simulation.output("alpha"), [1, 2], "events taken")
    told = [(event.name, event.event_id) for event in simulation.observer.saw(Refused)]
    expect_equal(told, [("number", "early"), ("number", "late")], "observed refusals")
    expect_equal(len(await simulation.recorded("alpha", EventRefused)), 2, "refusals recorded")


@scenario("SCENARIO-45a")
async def a_wait_may_ask_for_the_error(simulation: Simulation) -> None:
    """A wait with `on_invalid="raise"` raises InvalidPayload for an event whose data does not fit, over restarts too."""
    app, client = Registry(), simulation.client

    @app.orchestration
    async def strict(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_wait("number", int, on_invalid="raise")
        except InvalidPayload:
            return f"refused, then {await ctx.schedule_wait('next', str)}"
        return "accepted"

    node = await simulation.node(app)
    await client.start_orchestration("alpha", "strict")
    await simulation.until_recorded("alpha", WaitCreated)
    await client.raise_event("alpha", "number", '"text"')
    await simulation.until_recorded("alpha", WaitCreated, count=2)
    await node.stop()
    await simulation.node(app)
    await client.raise_event("alpha", "next", '"this"')
    expect_equal(await simulation.output("alpha"), "refused, then this", "output")
    expect_equal(simulation.observer.saw(Refused), [], "observed refusals")


@scenario("SCENARIO-35")
async def waiting_for_an_absent_instance_is_cheap(simulation: Simulation) -> None:
    """Waiting for an id that never starts ends in WaitTimeout, which says so; the wait costs a few reads of plain fields and no history."""
    waiting = simulation.client.wait_for_orchestration("absent", timedelta(seconds=30))
    began = simulation.clock.now()
    with expect_refusal(WaitTimeout, "waiting for an absent instance") as refusal:
        await simulation.run(waiting, "the wait")
    expect(not refusal.error.exists, "WaitTimeout says that the instance exists")
    expect_equal(simulation.clock.now() - began, 30_000_000, "microseconds waited")
    calls = simulation.link.calls
    expect(calls["read_instance"] <= 310, f"{calls['read_instance']} reads in 30 s")
    expect_equal(set(calls), {"read_instance"}, "operations asked for")
