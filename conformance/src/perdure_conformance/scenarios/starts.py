"""Starts: one instance for each id, any valid id, large inputs."""

from __future__ import annotations

import json

from perdure import OrchestrationContext, Registry
from perdure.errors import ActivityFailed, InstanceAlreadyExists, InvalidIdentifier, PayloadTooLarge
from perdure.history import WaitCreated
from perdure.model.details import ApplicationFailure
from perdure.model.payload import LARGEST_PAYLOAD
from perdure.model.status import NotFound

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.simulation import Simulation, scenario

MEGABYTE = 1_000_000

ODD_IDS = (
    "x",
    "X",
    " x",
    "x ",
    "x" * 512,
    "ü" * 256,
    "u\u0308",
    "ü",
    "a#b",
    "a/b",
    "a",
    "a#",
    "a#b#c",
    "a/b/c",
    "../a",
    "a::b",
    "a:b",
    "'a'",
    '"a"',
    "a'; DROP TABLE instances; --",
    "%",
    "_",
    "a%b",
    "a\\b",
    "注文-42",
    "🐢",
    "null",
    "0",
    "00",
    "-1",
    "~",
    "\u200b",
    "\ufffd",
)
REFUSED_IDS = ("", "x" * 513, "ü" * 257, "a\nb", "a\x00b", "\x7f", "a\tb", "\ud800")


def echoing() -> Registry:
    """Orchestrations that give back what they are given."""
    app = Registry()

    @app.activity
    async def repeat(text: str) -> str:
        return text

    @app.activity
    async def fill(length: int) -> str:
        return "x" * length

    @app.orchestration
    async def echo(ctx: OrchestrationContext, text: str) -> str:
        return text

    @app.orchestration
    async def echo_event(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("text", str)

    @app.orchestration
    async def echo_later(ctx: OrchestrationContext, text: str) -> str:
        both = text == await ctx.schedule_wait("text", str)
        await ctx.schedule_wait("go")
        return await ctx.schedule_activity(repeat, text) if both else "differs"

    @app.orchestration
    async def echo_activity(ctx: OrchestrationContext, text: str) -> str:
        return await ctx.schedule_activity(repeat, text)

    @app.orchestration
    async def fill_too_much(ctx: OrchestrationContext, length: int) -> str:
        try:
            return await ctx.schedule_activity(fill, length)
        except ActivityFailed as error:
            return error.message

    @app.orchestration
    async def pass_too_much(ctx: OrchestrationContext, length: int) -> str:
        return "x" * length

    return app


@scenario("SCENARIO-5")
async def a_second_start_is_refused(simulation: Simulation) -> None:
    """A second start under an id that is in use, of a running or of a finished instance, with the same or another name, version or input, raises InstanceAlreadyExists and changes nothing."""
    client, app = simulation.client, echoing()
    await client.start_orchestration("fresh", "echo", '"one"')
    await refuse_all(simulation, "fresh")
    await simulation.node(app)
    await client.start_orchestration("running", "echo_event")
    await simulation.until(lambda: has_begun(simulation, "running"), "the first turn")
    await refuse_all(simulation, "running")
    expect_equal(await simulation.output("fresh"), "one", "output")
    await refuse_all(simulation, "fresh")
    await client.raise_event("running", "text", '"two"')
    expect_equal(await simulation.output("running"), "two", "output")
    await refuse_all(simulation, "running")


@scenario("SCENARIO-5a")
async def of_starts_at_once_one_goes_through(simulation: Simulation) -> None:
    """Of many starts under one id that are made at once, exactly one goes through, and its input is what runs."""
    await simulation.node(echoing())
    starts = [
        simulation.client.start_orchestration("one", "echo", json.dumps(str(number)))
        for number in range(20)
    ]
    answers = await simulation.bench.all_of(starts)
    accepted = [n for n, answer in enumerate(answers) if not isinstance(answer, BaseException)]
    expect_equal(len(accepted), 1, "starts that went through")
    kinds = {type(answer) for answer in answers if isinstance(answer, BaseException)}
    expect_equal(kinds, {InstanceAlreadyExists}, "what the others raised")
    expect_equal(await simulation.output("one"), str(accepted[0]), "output")


async def has_begun(simulation: Simulation, instance: str) -> bool:
    """Whether an instance has run its first turn."""
    return (await simulation.state(instance)).last_event > 0


async def refuse_all(simulation: Simulation, instance: str) -> None:
    """Complain unless every further start under this id is refused without effect."""
    client, before = simulation.client, await simulation.state(instance)
    history = await simulation.history(instance)
    for name, text in (("echo", '"one"'), ("echo", '"other"'), ("echo_event", None)):
        with expect_refusal(InstanceAlreadyExists, f"a second start as {name}"):
            await client.start_orchestration(instance, name, text)
        with expect_refusal(InstanceAlreadyExists, "a second start with a version"):
            await client.start_orchestration_versioned(instance, name, "7.0.0", text)
    expect_equal(await simulation.state(instance), before, "the instance after further starts")
    expect_equal(await simulation.history(instance), history, "its history after further starts")


@scenario("SCENARIO-38")
async def a_megabyte_passes_whole(simulation: Simulation) -> None:
    """Inputs, outputs, events and results of one megabyte, and of the largest size that is allowed, are stored and returned whole, rebuilt executions included."""
    client, text = simulation.client, "é" * (MEGABYTE // 2)
    node = await simulation.node(echoing())
    await client.start_orchestration_typed("input", "echo", text)
    await client.start_orchestration_typed("activity", "echo_activity", text)
    await client.start_orchestration("event", "echo_event")
    await client.raise_event("event", "text", json.dumps(text, ensure_ascii=False))
    await client.start_orchestration_typed("rebuilt", "echo_later", text)
    await client.raise_event("rebuilt", "text", json.dumps(text, ensure_ascii=False))
    await simulation.until_recorded("rebuilt", WaitCreated, 2)
    await node.stop()
    node = await simulation.node(echoing())
    await client.raise_event("rebuilt", "go")
    for instance in ("input", "activity", "event", "rebuilt"):
        expect(
            await simulation.output(instance) == text, f"{instance}: what came back is not whole"
        )
    await node.stop()
    largest = "x" * (LARGEST_PAYLOAD - 2)
    await client.start_orchestration_typed("largest", "echo", largest)
    await simulation.node(echoing())
    expect(
        await simulation.output("largest") == largest, "the largest input did not come back whole"
    )


@scenario("SCENARIO-38a")
async def what_is_too_large_is_refused(simulation: Simulation) -> None:
    """A value above the limit is refused at the edge with an error that names the value and the limit, and nothing is stored; an activity or orchestration that returns one fails, and does not hang."""
    client, largest = simulation.client, "x" * (LARGEST_PAYLOAD - 2)
    await simulation.node(echoing())
    with expect_refusal(PayloadTooLarge, "an input above the limit") as refusal:
        await client.start_orchestration_typed("too-large", "echo", largest + "x")
    expect("input" in str(refusal.error), f"the error does not name the input: {refusal.error}")
    expect("16" in str(refusal.error), f"the error does not name the limit: {refusal.error}")
    expect_equal(await client.get_orchestration_status("too-large"), NotFound(), "status")
    await client.start_orchestration("event", "echo_event")
    with expect_refusal(PayloadTooLarge, "an event above the limit"):
        await client.raise_event("event", "text", json.dumps(largest + "x"))
    await client.raise_event("event", "text", '"fits"')
    expect_equal(await simulation.output("event"), "fits", "the event that was stored")
    await client.start_orchestration("activity", "fill_too_much", str(LARGEST_PAYLOAD))
    message = str(await simulation.output("activity"))
    expect("'fill'" in message and "16" in message, f"what the activity failed with: {message}")
    await client.start_orchestration("output", "pass_too_much", str(LARGEST_PAYLOAD))
    details = await simulation.failure("output")
    expect(isinstance(details, ApplicationFailure), f"an output above the limit: {details!r}")
    expect("16" in details.message, f"what the orchestration failed with: {details.message}")


@scenario("SCENARIO-39")
async def odd_ids_are_told_apart(simulation: Simulation) -> None:
    """Ids, names and event names of 1 to 512 bytes without control characters work with any content, and none is taken for another."""
    client, app = simulation.client, Registry()

    @app.orchestration
    async def take(ctx: OrchestrationContext, name: str) -> list[str]:
        return [ctx.instance, await ctx.schedule_wait(name, str)]

    await simulation.node(app)
    for place, odd in enumerate(ODD_IDS):
        name = ODD_IDS[place - 1]
        await client.start_orchestration_typed(odd, "take", name)
        await client.raise_event(odd, name, json.dumps(f"for {place}"))
    for place, odd in enumerate(ODD_IDS):
        expect_equal(await simulation.output(odd), [odd, f"for {place}"], f"output of {odd!r:.40}")
    if client.has_management_capability():
        listed = await client.list_all_instances()
        expect_equal(sorted(listed), sorted(ODD_IDS), "instances listed")


@scenario("SCENARIO-39a")
async def odd_names_are_told_apart(simulation: Simulation) -> None:
    """Registered names are told apart as ids are."""
    client, app = simulation.client, Registry()
    for odd in ODD_IDS:
        register_named(app, odd)
    await simulation.node(app)
    for odd in ODD_IDS:
        await client.start_orchestration(f"run of {len(odd)} {odd[:40]}", odd)
    for odd in ODD_IDS:
        output = await simulation.output(f"run of {len(odd)} {odd[:40]}")
        expect_equal(output, [odd, odd], f"output of {odd!r:.40}")


@scenario("SCENARIO-39b")
async def broken_ids_are_refused_at_the_edge(simulation: Simulation) -> None:
    """Ids and names that break the rule are refused with the rule, and nothing is stored."""
    client = simulation.client
    for broken in REFUSED_IDS:
        with expect_refusal(InvalidIdentifier, f"the id {broken!r:.40}"):
            await client.start_orchestration(broken, "echo")
        with expect_refusal(InvalidIdentifier, f"the name {broken!r:.40}"):
            await client.start_orchestration("fine", broken)
        with expect_refusal(InvalidIdentifier, f"the event name {broken!r:.40}"):
            await client.raise_event("fine", broken)
        with expect_refusal(InvalidIdentifier, f"the id {broken!r:.40} for an event"):
            await client.raise_event(broken, "fine")
    expect_equal(await client.get_orchestration_status("fine"), NotFound(), "status")
    expect_equal(simulation.link.calls["create_instance"], 0, "instances that were created")
    expect_equal(simulation.link.calls["send"], 0, "messages that were sent")


def register_named(app: Registry, name: str) -> None:
    """Register an orchestration and an activity under one name, which they return."""

    @app.activity(name=name)
    async def say() -> str:
        return name

    @app.orchestration(name=name)
    async def call(ctx: OrchestrationContext) -> list[str]:
        return [ctx.name, await ctx.schedule_activity(say)]
