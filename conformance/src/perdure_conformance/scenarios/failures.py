"""Failures of the user's own code: caught by the orchestration, or seen by the client."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from perdure import (
    NotFound,
    OrchestrationContext,
    Registry,
    RetryPolicy,
    RuntimeOptions,
    activity_context,
)
from perdure.authoring.retry import Fixed
from perdure.errors import ActivityFailed, InvalidPayload
from perdure.history import ActivityFailed as ActivityFailedEvent
from perdure.history import ActivityScheduled, TimerCreated
from perdure.model.details import ApplicationFailure, Raised

from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.scenarios.simulation import Simulation, scenario


class CardDeclined(Exception):
    """An error of an application."""


@dataclass
class Approved:
    """One of two answers that look alike as JSON."""

    by: str


@dataclass
class Refused:
    """The other one."""

    by: str


def failing() -> Registry:
    """Activities that raise, and orchestrations that catch it or don't."""
    app = Registry()

    @app.activity
    async def charge(amount: int) -> str:
        if activity_context().attempt < amount:
            raise CardDeclined(f"no money for {amount}")
        return f"charged at attempt {activity_context().attempt}"

    @app.activity
    def charge_in_a_thread(amount: int) -> str:
        raise CardDeclined(f"no money for {amount}")

    @app.activity
    async def decide(by: str) -> Approved | Refused:
        return Refused(by)

    @app.activity
    async def words(count: int) -> set[str]:
        return {f"word {number}" for number in range(count)}

    @app.orchestration
    async def deciding(ctx: OrchestrationContext) -> str:
        policy = RetryPolicy(max_attempts=3, backoff=Fixed(timedelta(seconds=10)))
        await ctx.schedule_activity(decide, "Ada", retry=policy)
        return "decided"

    @app.orchestration
    async def listing(ctx: OrchestrationContext, count: int) -> set[str]:
        return await ctx.schedule_activity(words, count)

    @app.orchestration
    async def catching(ctx: OrchestrationContext, activity: str) -> list[str]:
        try:
            return [await ctx.schedule_activity(activity, 7, result_type=str)]
        except ActivityFailed as error:
            trace = error.details.kind.trace if isinstance(error.details.kind, Raised) else ()
            return [error.activity, error.type_name, error.message, *trace]

    @app.orchestration
    async def not_catching(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(charge, 7)

    @app.orchestration
    async def raising(ctx: OrchestrationContext) -> str:
        raise CardDeclined("of its own")

    @app.orchestration
    async def retrying(ctx: OrchestrationContext, amount: int) -> str:
        policy = RetryPolicy(max_attempts=3, backoff=Fixed(timedelta(seconds=10)))
        return await ctx.schedule_activity(charge, amount, retry=policy)

    return app


@scenario("SCENARIO-37")
async def an_activitys_exception_can_be_caught(simulation: Simulation) -> None:
    """What an activity raises, in the event loop or in a thread, arrives in the orchestration with type name, message and details, and can be caught."""
    client = simulation.client
    await simulation.node(failing())
    for activity in ("charge", "charge_in_a_thread"):
        await client.start_orchestration_typed(activity, "catching", activity)

        async def real_time_passes(name: str = activity) -> bool:
            # A thread is beyond the simulation's view: wait for what it does.
            return bool(await simulation.recorded(name, ActivityFailedEvent))

        await simulation.until(real_time_passes, "the failure", within=timedelta(hours=1))
        caught = cast("list[str]", await simulation.output(activity))
        expect_equal(caught[:3], [activity, "CardDeclined", "no money for 7"], "what was caught")
        expect(caught[3:], "the details have no trace")


@scenario("SCENARIO-37a")
async def an_uncaught_exception_fails_the_instance(simulation: Simulation) -> None:
    """What is not caught fails the instance, category application, with a trace that names code and lines, and no path of the machine unless asked."""
    client = simulation.client
    node = await simulation.node(failing())
    for name in ("not_catching", "raising"):
        await client.start_orchestration(name, name)
    details = await simulation.failure("raising")
    expect_equal(details.category(), "application", "category")
    expect_equal(details.display_message(), "CardDeclined: of its own", "message")
    check_trace(details, paths=False)
    details = await simulation.failure("not_catching")
    expect_equal(details.category(), "application", "category")
    expect("no money for 7" in details.display_message(), f"message of {details}")
    check_trace(details, paths=False)
    await node.stop()
    await simulation.node(failing(), options=RuntimeOptions(trace_paths=True))
    await client.start_orchestration("with paths", "raising")
    check_trace(await simulation.failure("with paths"), paths=True)


def check_trace(details: object, *, paths: bool) -> None:
    """Complain unless there is a trace, with paths or without."""
    kind = details.kind if isinstance(details, ApplicationFailure) else None
    trace = kind.trace if isinstance(kind, Raised) else ()
    expect(trace, f"no trace in {details!r}")
    expect(any(re.search(r":\d+ ", line) for line in trace), f"no line in the trace {trace}")
    found = any("/" in line or "\\" in line for line in trace)
    expect(found is paths, f"paths in the trace: {trace}")


@scenario("SCENARIO-37b")
async def retries_are_part_of_the_history(simulation: Simulation) -> None:
    """A retry policy's attempts are separate activities with durable timers between them; the last failure is what the orchestration sees."""
    client = simulation.client
    await simulation.node(failing())
    for name, amount in (("works", "3"), ("fails", "9")):
        await client.start_orchestration(name, "retrying", amount)
    began = simulation.clock.now()
    expect_equal(await simulation.output("works"), "charged at attempt 3", "output")
    took = timedelta(microseconds=simulation.clock.now() - began)
    expect(took >= timedelta(seconds=20), f"two waits of 10 s took {took}")
    details = await simulation.failure("fails")
    expect("no money for 9" in details.display_message(), f"the failure is {details}")
    for name in ("works", "fails"):
        scheduled = await simulation.recorded(name, ActivityScheduled)
        expect_equal([event.attempt for event in scheduled], [1, 2, 3], f"attempts of {name!r}")
        expect_equal(len(await simulation.recorded(name, TimerCreated)), 2, f"timers of {name!r}")


@scenario("SCENARIO-44")
async def what_would_not_come_back_is_refused(simulation: Simulation) -> None:
    """A value that would not come back equal is refused where it is encoded: a start stores nothing, a result fails its activity at once, without another attempt; the message names the place and the way out. A set has one text."""
    client = simulation.client
    await simulation.node(failing())
    for value in ({"amount": float("nan")}, {"amount": {1: "a", "1": "b"}}):
        with expect_refusal(InvalidPayload, f"a start with {value!r}") as refusal:
            await client.start_orchestration_typed("refused", "retrying", value)
        expect("$.amount" in str(refusal.error), f"no place in {refusal.error}")
    expect_equal(await client.get_orchestration_status("refused"), NotFound(), "status")
    await client.start_orchestration("deciding", "deciding")
    details = await simulation.failure("deciding")
    expect("discriminator" in details.display_message(), f"no way out in {details}")
    scheduled = await simulation.recorded("deciding", ActivityScheduled)
    expect_equal([event.attempt for event in scheduled], [1], "attempts")
    await client.start_orchestration("listing", "listing", "9")
    expect_equal(
        await simulation.output("listing"), [f"word {n}" for n in range(9)], "words of a set"
    )
