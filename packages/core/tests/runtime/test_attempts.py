"""The attempts of an activity under a time limit: they don't overlap, and waiting is no attempt."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import perdure
import pytest
from perdure import Fixed, RetryPolicy, Runtime, RuntimeOptions

POLICY = RetryPolicy(
    max_attempts=2, backoff=Fixed(timedelta(0)), attempt_timeout=timedelta(seconds=5)
)


def flow(app: perdure.Registry, policy: RetryPolicy = POLICY) -> None:
    @app.orchestration(name="main")
    async def main(ctx: perdure.OrchestrationContext, name: str) -> str:
        try:
            return await ctx.schedule_activity(name, retry=policy, result_type=str)
        except perdure.ActivityTimeout as error:
            return f"timeout: {error.message}"


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_the_limit_cancels_an_attempt_at_once_and_the_next_begins_when_it_has_ended(
    timed_provider, clock, eventually
) -> None:
    app = perdure.Registry()
    flow(app)
    log: list[str] = []
    cleaned = asyncio.Event()

    @app.activity
    async def slow() -> str:
        attempt = perdure.activity_context().attempt
        log.append(f"attempt {attempt} begins")
        if attempt == 2:
            return "done"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append(f"cancelled at {clock.now() - began}")
            await cleaned.wait()
            log.append(f"attempt {attempt} ends")
            raise
        return "?"

    async with Runtime(timed_provider, app):
        began = clock.now()
        handle = await perdure.Client(timed_provider).start_orchestration_typed("i", "main", "slow")
        await eventually(lambda: log)
        clock.advance(timedelta(seconds=4))
        await settle()
        assert log == ["attempt 1 begins"]
        clock.advance(timedelta(seconds=1))
        await eventually(lambda: len(log) == 2)
        await settle()
        assert log[1:] == ["cancelled at 5000000"]
        cleaned.set()

        assert await handle.result(timeout=10) == "done"
    assert log[2:] == ["attempt 1 ends", "attempt 2 begins"]


async def test_the_limit_is_kept_by_the_worker_and_waiting_for_one_does_not_count(
    timed_provider, clock, eventually, pass_time
) -> None:
    control, work = perdure.Registry(), perdure.Registry()
    flow(control)
    cancelled: list[int] = []
    begun: list[int] = []

    @work.activity
    async def endless() -> str:
        begun.append(clock.now())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(clock.now())
            raise
        return "?"

    async with Runtime(timed_provider, control) as first:
        handle = await perdure.Client(timed_provider).start_orchestration_typed(
            "i", "main", "endless"
        )
        await eventually(lambda: first.statistics.turns_committed)
        clock.advance(timedelta(minutes=5))
        await settle()
        assert isinstance(await handle.status(), perdure.Running)
        async with Runtime(timed_provider, work):

            async def ended() -> bool:
                return isinstance(await handle.status(), perdure.Completed)

            await pass_time(ended)

    assert await handle.result(timeout=0) == "timeout: it did not finish within attempt_timeout"
    lasted = [end - begin for begin, end in zip(begun, cancelled, strict=True)]
    # The clock moves by seconds, and may do so before a limit is set.
    assert all(5_000_000 <= each <= 7_000_000 for each in lasted)
    assert len(lasted) == 2


async def test_a_result_in_spite_of_the_limit_counts(timed_provider, clock, eventually) -> None:
    app = perdure.Registry()
    flow(app)
    begun = asyncio.Event()

    @app.activity
    async def finishes() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished all the same"
        return "?"

    async with Runtime(timed_provider, app):
        handle = await perdure.Client(timed_provider).start_orchestration_typed(
            "i", "main", "finishes"
        )
        await begun.wait()
        clock.advance(timedelta(seconds=5))

        assert await handle.result(timeout=10) == "finished all the same"


async def test_a_thread_is_told_of_the_limit_and_its_slot_is_free_when_it_has_returned(
    timed_provider, clock, eventually
) -> None:
    app = perdure.Registry()
    flow(app)
    told: list[int] = []
    begun = threading.Semaphore(0)
    may_return = threading.Event()

    @app.activity
    def blocks() -> str:
        context = perdure.activity_context()
        begun.release()
        if context.attempt == 1:
            assert context.wait_cancel_requested(30)
            told.append(context.attempt)
            may_return.wait(30)
        return f"attempt {context.attempt}"

    async with Runtime(timed_provider, app, options=RuntimeOptions(activity_threads=1)):
        handle = await perdure.Client(timed_provider).start_orchestration_typed(
            "i", "main", "blocks"
        )
        await asyncio.to_thread(begun.acquire)
        clock.advance(timedelta(seconds=5))
        await eventually(lambda: told)
        await settle()
        assert not begun.acquire(blocking=False)
        may_return.set()

        assert await handle.result(timeout=10) == "attempt 2"


@pytest.mark.parametrize("grace", [0, 7])
async def test_a_cancelled_instance_gives_its_activity_the_activitys_own_grace(
    timed_provider, clock, eventually, grace
) -> None:
    app = perdure.Registry()
    flow(app, RetryPolicy(max_attempts=1))
    contexts: list[perdure.ActivityContext] = []
    cancelled: list[int] = []

    @app.activity(cancel_grace=grace)
    async def endless() -> str:
        contexts.append(perdure.activity_context())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(clock.now())
            raise
        return "?"

    async with Runtime(timed_provider, app):
        handle = await perdure.Client(timed_provider).start_orchestration_typed(
            "i", "main", "endless"
        )
        await eventually(lambda: contexts)
        await handle.cancel("enough")
        await eventually(lambda: contexts[0].cancel_requested)
        began = clock.now()
        await settle()
        clock.advance(
            timedelta(seconds=grace) - timedelta(microseconds=1) if grace else timedelta(0)
        )
        await settle()
        assert bool(cancelled) == (grace == 0)
        clock.advance(timedelta(microseconds=1))
        await eventually(lambda: cancelled)

    assert cancelled[0] - began == grace * 1_000_000


def test_the_grace_of_an_activity_is_checked_where_it_is_registered() -> None:
    app = perdure.Registry()

    with pytest.raises(perdure.InvalidDuration, match="cancel_grace"):

        @app.activity(cancel_grace=-1)
        async def work() -> None: ...


async def test_what_an_activity_that_was_asked_to_end_raises_is_its_outcome(
    timed_provider, clock, eventually
) -> None:
    """Also `CancelledError`: nothing but its own code has cancelled it."""
    app = perdure.Registry()
    contexts: list[perdure.ActivityContext] = []
    outcomes: list[str] = []

    @app.activity
    async def stops() -> None:
        context = perdure.activity_context()
        contexts.append(context)
        while not context.cancel_requested:  # noqa: ASYNC110 # it has no other way to hear
            await asyncio.sleep(0.001)
        raise asyncio.CancelledError("stopped in the middle")

    @app.activity
    async def note(text: str) -> None:
        outcomes.append(text)

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        work = ctx.schedule_activity(stops, cancellation="wait")
        try:
            await work
        except asyncio.CancelledError:
            error = work.exception()
            assert isinstance(error, perdure.ActivityFailed)
            await ctx.schedule_activity(note, error.message)
            raise

    async with Runtime(timed_provider, app):
        handle = await perdure.Client(timed_provider).start_orchestration("i", main)
        await eventually(lambda: contexts)
        began = clock.now()
        await handle.cancel("enough")

        assert isinstance(await handle.wait(timeout=10), perdure.Failed)
        assert clock.now() == began
    assert outcomes == ["stopped in the middle"]
    assert len(contexts) == 1


@pytest.mark.parametrize("apart", [False, True], ids=["one runtime", "a worker of its own"])
async def test_an_attempt_that_outlasts_the_total_limit_is_cancelled_without_grace(
    apart: bool, timed_provider, clock, eventually, pass_time
) -> None:
    control, work = perdure.Registry(), perdure.Registry()
    flow(control, RetryPolicy(total_timeout=timedelta(seconds=5)))
    log: list[str] = []

    @work.activity
    async def slow() -> None:
        log.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ends")

    if not apart:
        control.include(work)
    async with Runtime(timed_provider, control), Runtime(timed_provider, work):
        client = perdure.Client(timed_provider)
        handle = await client.start_orchestration_typed("i", "main", "slow")
        await eventually(lambda: log)
        clock.advance(timedelta(seconds=5))
        # It hears of it within a second; the grace of a cancellation is ten.
        ended = clock.now() + 3_000_000
        step = timedelta(milliseconds=50)  # small, so that a slow machine has the time it needs
        await pass_time(lambda: len(log) > 1 or clock.now() > ended, step=step)

        assert log == ["begins", "ends"]
        assert await handle.result(timeout=10) == "timeout: it did not finish within total_timeout"
