"""Outcomes of user code: everything that it raises is one, with its causes and details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from perdure import ActivityFailed, ApplicationError, OrchestrationContext, Registry, RetryPolicy
from perdure.authoring.retry import Fixed
from perdure.history import ActivityFailed as ActivityFailedEvent
from perdure.history import ActivityScheduled, TimerCreated
from perdure.model.application_errors import NonRetryable, RetryAfter
from perdure.model.details import Raised

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.simulation import SOON, Simulation, expect_soon, scenario

DELAY = timedelta(seconds=77)
BACKOFF = timedelta(seconds=10)


class Abort(BaseException):
    """Derives from neither `Exception` nor a class that Python handles."""


class Untold(Exception):
    """Its text cannot be read."""

    def __str__(self) -> str:
        raise SystemExit("no text")


def _nested() -> BaseException:
    innermost: list[Exception] = [ValueError("innermost")]
    for _ in range(3000):
        innermost = [ExceptionGroup("group", innermost)]
    return innermost[0]


RAISED: dict[str, Callable[[], BaseException]] = {
    "Abort": Abort,
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "ExceptionGroup": _nested,
    "Untold": Untold,
    "OSError": lambda: OSError("\udcff"),
    "StopIteration": lambda: StopIteration(7),
}
OF_PYTHON = {"StopIteration": "RuntimeError"}
"""What Python makes of it in a coroutine, which would seem to return."""


class Busy(ApplicationError):
    """An error of an application, with details."""


def raising() -> Registry:
    """Activities and orchestrations that raise anything, and some that look at it."""
    app = Registry()

    @app.activity
    async def in_the_loop(name: str) -> None:
        raise RAISED[name]()

    @app.activity
    def in_a_thread(name: str) -> None:
        raise RAISED[name]()

    @app.orchestration
    async def calling(ctx: OrchestrationContext, call: tuple[str, str]) -> str:
        try:
            await ctx.schedule_activity(*call)
        except ActivityFailed as error:
            return error.type_name
        return "nothing was raised"

    @app.orchestration
    async def failing(ctx: OrchestrationContext, name: str) -> None:
        raise RAISED[name]()

    @app.activity
    async def query() -> None:
        try:
            raise ConnectionResetError("the peer went away")
        except ConnectionResetError as error:
            raise RuntimeError("the query failed") from error

    @app.orchestration
    async def child(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity(query)
        except ActivityFailed as error:
            raise ValueError("the order is broken") from error

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration(child)

    return app


@scenario("SCENARIO-43")
async def whatever_is_raised_is_the_outcome(simulation: Simulation) -> None:
    """Everything that an activity raises, in the event loop or in a thread, or that an orchestration raises, is its outcome, recorded once and at once: exceptions that are no `Exception`, those that end a process, and those that have no text included; the process lives."""
    client = simulation.client
    node = await simulation.node(raising())
    for name in RAISED:
        in_a_coroutine = OF_PYTHON.get(name, name)
        for activity, type_name in (("in_a_thread", name), ("in_the_loop", in_a_coroutine)):
            instance = f"{name} {activity}"
            await client.start_orchestration_typed(instance, "calling", (activity, name))
            # A thread is beyond the simulation's view: the clock moves while it works.
            took = await simulation.until_recorded(
                instance, ActivityFailedEvent, within=timedelta(hours=1)
            )
            if activity == "in_the_loop":
                expect_soon(took, f"the outcome of {instance!r}")
            expect_equal(await simulation.output(instance), type_name, f"what {instance!r} raised")
            recorded = await simulation.recorded(instance, ActivityFailedEvent)
            expect_equal(len(recorded), 1, f"outcomes of {instance!r}")
        instance = f"{name} orchestration"
        await client.start_orchestration_typed(instance, "failing", name)
        details = await simulation.failure(instance, within=SOON)
        expect_equal(details.type_name, in_a_coroutine, f"what {instance!r} raised")
    expect_equal(node.runtime.statistics.turns_running, 0, "turns that go on")


@scenario("SCENARIO-43a")
async def failures_carry_their_causes(simulation: Simulation) -> None:
    """A failure has the chain of what it comes from, with a trace for each, over every step from an activity to its orchestration to the parent, in its details and in its message."""
    await simulation.node(raising())
    await simulation.client.start_orchestration("alpha", "parent")
    details = await simulation.failure("alpha")
    names, causes = [details.type_name], details.causes
    while causes:
        names.append(causes[0].type_name)
        expect(causes[0].trace, f"{names[-1]} has no trace")
        causes = causes[0].causes
    expect_equal(
        names,
        [
            "SubOrchestrationFailed",
            "ValueError",
            "ActivityFailed",
            "RuntimeError",
            "ConnectionResetError",
        ],
        "the chain",
    )
    shown = details.display_message()
    for message in ("the order is broken", "the query failed", "the peer went away"):
        expect(message in shown, f"the message does not say {message!r}: {shown}")


def saying() -> Registry:
    """Activities that say more than a text, and orchestrations that read it."""
    app = Registry()

    @app.activity
    async def busy(until: int) -> str:
        attempt = len(attempts[until])
        attempts[until].append(attempt)
        if attempt < until:
            raise RetryAfter(DELAY, details={"status": 429, "attempt": attempt})
        return "done"

    @app.activity
    async def refused(kind: str) -> None:
        details = {"status": [400, kind]}
        raise {
            "never": NonRetryable("it is wrong", details=details),
            "by its base": Busy("it is busy", details=details),
            "by its details": Busy("it is busy", details=details),
        }[kind]

    attempts: dict[int, list[int]] = {2: []}

    @app.orchestration
    async def patient(ctx: OrchestrationContext, until: int) -> str:
        policy = RetryPolicy(max_attempts=None, backoff=Fixed(BACKOFF))
        return await ctx.schedule_activity(busy, until, retry=policy)

    @app.orchestration
    async def reading(ctx: OrchestrationContext, kind: str) -> list[object]:
        policy = {
            "never": RetryPolicy(),
            "by its base": RetryPolicy(non_retryable=(ApplicationError,)),
            "by its details": RetryPolicy(retry_if=lambda error: error.data["status"][0] != 400),
        }[kind]
        try:
            await ctx.schedule_activity(refused, kind, retry=policy)
        except ActivityFailed as error:
            return [error.type_name, error.data]
        return []

    return app


@scenario("SCENARIO-43b")
async def activities_say_what_follows(simulation: Simulation) -> None:
    """What an activity attaches to its error is read by its orchestration and by the retry policy: JSON details, when to try again, and that there is no use; a policy's classes stand for all that are derived from them."""
    client = simulation.client
    await simulation.node(saying())
    await client.start_orchestration("patient", "patient", "2")
    expect_equal(await simulation.output("patient"), "done", "output")
    timers = await simulation.recorded("patient", TimerCreated)
    waits = [timedelta(microseconds=timer.fire_at - timer.at) for timer in timers]
    expect_equal(waits, [DELAY, DELAY], "waits between the attempts")
    failed = await simulation.recorded("patient", ActivityFailedEvent)
    said = [one.details.kind for one in failed]
    expect(all(isinstance(kind, Raised) and kind.data for kind in said), f"no details in {said}")
    for kind, type_name in (
        ("never", "NonRetryable"),
        ("by its base", "Busy"),
        ("by its details", "Busy"),
    ):
        await client.start_orchestration_typed(kind, "reading", kind)
        expected = [type_name, {"status": [400, kind]}]
        expect_equal(await simulation.output(kind), expected, f"what {kind!r} read")
        expect_equal(
            len(await simulation.recorded(kind, ActivityScheduled)), 1, f"attempts of {kind!r}"
        )
