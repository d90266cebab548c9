"""The attempts of an activity: durable, replayed alike, and given up in time."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from perdure import (
    ActivityFailed,
    ActivityTimeout,
    Exponential,
    Fixed,
    OrchestrationContext,
    Registry,
    RetryAfter,
    RetryPolicy,
)
from perdure.diagnostics.failures import describe, timed_out
from perdure.history import ActivityScheduled, TimerCreated, WorkCancelled
from perdure.model.details import ApplicationFailure, Raised

from .driver import Answer, Restart, World, play, play_everywhere

app = Registry()
SECOND = timedelta(seconds=1)
POLICIES = {
    "plain": RetryPolicy(max_attempts=4, backoff=Fixed(SECOND)),
    "jitter": RetryPolicy(max_attempts=5, backoff=Exponential(jitter=1.0)),
    "attempt": RetryPolicy(max_attempts=2, backoff=Fixed(SECOND), attempt_timeout=5 * SECOND),
    "total": RetryPolicy(max_attempts=9, backoff=Fixed(3 * SECOND), total_timeout=7 * SECOND),
    "both": RetryPolicy(attempt_timeout=9 * SECOND, total_timeout=5 * SECOND),
    "type": RetryPolicy(non_retryable=(ValueError,)),
    "predicate": RetryPolicy(retry_if=lambda error: "again" in error.message),
    "timeout": RetryPolicy(attempt_timeout=5 * SECOND, non_retryable=(TimeoutError,)),
    "endless": RetryPolicy(max_attempts=None, backoff=Fixed(SECOND), total_timeout=900 * SECOND),
    "broken": RetryPolicy(retry_if=lambda error: bool(1 / 0)),
}


@app.orchestration
async def retrying(ctx: OrchestrationContext, policy: str) -> str:
    try:
        return await ctx.schedule_activity("work", policy, retry=POLICIES[policy])
    except ActivityTimeout as error:
        return f"timeout: {error.message}"
    except ActivityFailed as error:
        return f"failed: {error.message}"


@app.orchestration
async def gives_up(ctx: OrchestrationContext) -> str:
    future = ctx.schedule_activity("work", retry=POLICIES["attempt"])
    await ctx.schedule_wait("stop")
    future.cancel()
    return await ctx.schedule_activity("after")


@app.orchestration
async def ignores(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("work", retry=RetryPolicy(max_attempts=1))
    await ctx.schedule_wait("stop")


def failing(until: int, message: str = "again") -> object:
    def answer(name: str, input: str, attempt: int) -> Answer:
        if attempt < until:
            return ApplicationFailure(Raised(type_name="ValueError", message=message))
        return json.dumps(f"attempt {attempt}")

    return answer


def make(policy: str, until: int, message: str = "again", restart: Restart = "cold") -> World:
    return World(
        app=app,
        name="retrying",
        input=json.dumps(policy),
        restart=restart,
        answer_activity=failing(until, message),  # type: ignore[arg-type]
    )


def test_attempts_follow_one_another_after_durable_waits() -> None:
    world = play(make("plain", 3))

    assert world.output == '"attempt 3"'
    assert [event.attempt for event in world.events(ActivityScheduled)] == [1, 2, 3]
    assert len(world.events(TimerCreated)) == 2


def test_attempts_of_a_call_share_the_number_of_the_first() -> None:
    world = play(make("plain", 3))

    data = [a.data for d in world.drafts for a in d.activities.values()]
    assert [one.attempt for one in data] == [1, 2, 3]
    assert {one.first for one in data} == {data[0].event}
    assert len({one.event for one in data}) == 3


def test_the_last_failure_comes_out_when_the_attempts_are_used_up() -> None:
    assert play(make("plain", 9)).output == '"failed: again"'


def test_jittered_waits_replay_alike() -> None:
    worlds = play_everywhere(lambda mode: make("jitter", 5, restart=mode), orders=3)

    timers = worlds[0].events(TimerCreated)
    assert len({timer.fire_at - timer.at for timer in timers}) == 4


def late_until(attempt: int) -> object:
    """Attempts before this one run into their limit, which the runtime that runs them keeps."""

    def answer(name: str, input: str, number: int) -> Answer:
        if number < attempt:
            return timed_out("attempt_timeout", retryable=True)
        return json.dumps(f"attempt {number}")

    return answer


def make_late(until: int, policy: str = "attempt") -> World:
    world = make(policy, 0)
    world.answer_activity = late_until(until)  # type: ignore[assignment]
    return world


def test_the_limit_of_an_attempt_goes_to_the_worker() -> None:
    world = play(make_late(2))

    data = [a.data for d in world.drafts for a in d.activities.values()]
    assert [one.timeout for one in data] == [5 * SECOND] * 2
    assert world.output == '"attempt 2"'
    # The wait between the attempts, and no other.
    assert [timer.fire_at - timer.at for timer in world.events(TimerCreated)] == [1_000_000]


def test_the_last_attempt_that_takes_too_long_is_a_timeout() -> None:
    assert play(make_late(9)).output == '"timeout: it did not finish within attempt_timeout"'


def test_in_a_history_of_the_first_format_the_limit_of_an_attempt_is_a_timer() -> None:
    world = make("attempt", 1)
    world.format = 1
    world.start()
    world.deliver("timer")
    assert len(world.events(WorkCancelled)) == 1
    world.deliver("timer")  # the wait between the attempts
    world.deliver("work")

    assert world.output == '"attempt 2"'
    data = [a.data for d in world.drafts for a in d.activities.values()]
    assert [one.timeout for one in data] == [None, None]


def test_no_attempt_begins_after_the_total_limit() -> None:
    world = play(make("total", 99))

    assert world.output == '"failed: again"'
    assert [event.attempt for event in world.events(ActivityScheduled)] == [1, 2, 3]


def test_an_attempt_under_way_is_given_up_at_the_total_limit() -> None:
    world = make("total", 1).start()
    world.deliver("timer")

    assert world.output == '"timeout: it did not finish within total_timeout"'


def test_the_smaller_limit_counts() -> None:
    world = make("both", 1).start()
    world.deliver("timer")

    assert world.output == '"timeout: it did not finish within total_timeout"'


@pytest.mark.parametrize(("policy", "message"), [("type", "again"), ("predicate", "never")])
def test_what_the_policy_refuses_is_not_retried(policy: str, message: str) -> None:
    world = play(make(policy, 2, message))

    assert world.output == f'"failed: {message}"'
    assert len(world.events(ActivityScheduled)) == 1


def test_a_timeout_is_known_by_its_base_classes() -> None:
    world = play(make_late(9, "timeout"))

    assert world.output == '"timeout: it did not finish within attempt_timeout"'
    assert len(world.events(ActivityScheduled)) == 1


def busy_until(attempt: int, delay: float) -> object:
    def answer(name: str, input: str, number: int) -> Answer:
        if number < attempt:
            return ApplicationFailure(describe(RetryAfter(delay, details={"attempt": number})))
        return json.dumps(f"attempt {number}")

    return answer


def test_an_error_sets_the_wait_before_the_next_attempt() -> None:
    def make_busy(restart: Restart) -> World:
        world = make("plain", 0, restart=restart)
        world.answer_activity = busy_until(3, 77.5)  # type: ignore[assignment]
        return world

    for world in play_everywhere(make_busy, orders=2):
        timers = world.events(TimerCreated)
        assert [timer.fire_at - timer.at for timer in timers] == [77_500_000] * 2
        assert world.output == '"attempt 3"'


def test_no_error_puts_the_next_attempt_behind_the_total_limit() -> None:
    world = make("total", 0)
    world.answer_activity = busy_until(9, 60)  # type: ignore[assignment]
    play(world)

    assert world.output == '"failed: try again after 60 s"'
    assert len(world.events(ActivityScheduled)) == 1


def test_attempts_without_end_go_on_until_one_succeeds() -> None:
    assert play(make("endless", 300, restart="never")).output == '"attempt 300"'


def test_a_predicate_that_raises_fails_the_call() -> None:
    assert play(make("broken", 2)).failure.type_name == "ZeroDivisionError"


def test_cancelling_the_future_cancels_the_attempt_under_way() -> None:
    for world in play_everywhere(
        lambda mode: World(
            app=app, name="gives_up", restart=mode, answer_activity=lambda name, *_: f'"{name}"'
        ),
        start=lambda world: (world.start(), world.raise_event("stop")),
    ):
        assert world.output == '"after"'


def test_a_failure_that_is_never_awaited_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    world = World(app=app, name="ignores", answer_activity=failing(9)).start()  # type: ignore[arg-type]
    world.deliver("work")
    world.deliver(world.raise_event("stop"))

    assert world.output == "null"
    assert not caplog.records
