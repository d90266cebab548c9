"""The attempts of an activity under a time limit: they don't overlap, and waiting is no attempt."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import perdure
import pytest
from perdure import Fixed, RetryPolicy, RuntimeOptions
from perdure.testing import Stage

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


async def test_the_limit_cancels_an_attempt_at_once_and_the_next_begins_when_it_has_ended(
    url,
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
            log.append(f"cancelled after {(stage.elapsed - began).seconds} s")
            await cleaned.wait()
            log.append(f"attempt {attempt} ends")
            raise
        return "?"

    async with Stage(app, url=url) as stage:
        began = stage.elapsed
        handle = await stage.client.start_orchestration_typed("i", "main", "slow")
        await stage.until(lambda: log)
        await stage.advance(timedelta(seconds=4.9))
        assert log == ["attempt 1 begins"]
        await stage.advance(timedelta(seconds=0.1))
        assert log[1:] == ["cancelled after 5 s"]
        cleaned.set()

        assert await handle.result() == "done"
    assert log[2:] == ["attempt 1 ends", "attempt 2 begins"]


async def test_the_limit_is_kept_by_the_worker_and_waiting_for_one_does_not_count(url) -> None:
    control, work = perdure.Registry(), perdure.Registry()
    flow(control)
    cancelled: list[timedelta] = []
    begun: list[timedelta] = []

    @work.activity
    async def endless() -> str:
        begun.append(stage.elapsed)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(stage.elapsed)
            raise
        return "?"

    async with Stage(control, url=url) as stage:
        handle = await stage.client.start_orchestration_typed("i", "main", "endless")
        await stage.advance(timedelta(minutes=5))
        assert isinstance(await handle.status(), perdure.Running)
        async with stage.worker(work):
            for attempt in (1, 2):
                await stage.until(lambda count=attempt: len(begun) == count)
                await stage.advance(5)

            assert await handle.result() == "timeout: it did not finish within attempt_timeout"
    lasted = [end - begin for begin, end in zip(begun, cancelled, strict=True)]
    assert lasted == [timedelta(seconds=5)] * 2


async def test_a_result_in_spite_of_the_limit_counts(url) -> None:
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

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration_typed("i", "main", "finishes")
        await begun.wait()
        await stage.advance(5)

        assert await handle.result() == "finished all the same"


async def test_a_thread_is_told_of_the_limit_and_its_slot_is_free_when_it_has_returned(url) -> None:
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

    async with Stage(app, options=RuntimeOptions(activity_threads=1), url=url) as stage:
        handle = await stage.client.start_orchestration_typed("i", "main", "blocks")
        await asyncio.to_thread(begun.acquire)
        await stage.advance(5)
        await stage.until(lambda: told)
        assert not begun.acquire(blocking=False)
        may_return.set()

        assert await handle.result() == "attempt 2"


@pytest.mark.parametrize("grace", [0, 7])
async def test_a_cancelled_instance_gives_its_activity_the_activitys_own_grace(url, grace) -> None:
    app = perdure.Registry()
    flow(app, RetryPolicy(max_attempts=1))
    contexts: list[perdure.ActivityContext] = []
    cancelled: list[timedelta] = []

    @app.activity(cancel_grace=grace)
    async def endless() -> str:
        contexts.append(perdure.activity_context())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(stage.elapsed)
            raise
        return "?"

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration_typed("i", "main", "endless")
        await stage.until(lambda: contexts)
        await handle.cancel("enough")
        await stage.until(lambda: contexts[0].cancel_requested)
        began = stage.elapsed
        if grace:
            await stage.advance(timedelta(seconds=grace) - timedelta(microseconds=1))
            assert not cancelled
            await stage.advance(timedelta(microseconds=1))
        await stage.until(lambda: cancelled)

    assert cancelled[0] - began == timedelta(seconds=grace)


def test_the_grace_of_an_activity_is_checked_where_it_is_registered() -> None:
    app = perdure.Registry()

    with pytest.raises(perdure.InvalidDuration, match="cancel_grace"):

        @app.activity(cancel_grace=-1)
        async def work() -> None: ...


async def test_what_an_activity_that_was_asked_to_end_raises_is_its_outcome(url) -> None:
    """Also `CancelledError`: nothing but its own code has cancelled it."""
    app = perdure.Registry()
    contexts: list[perdure.ActivityContext] = []
    outcomes: list[str] = []

    @app.activity
    async def stops() -> None:
        context = perdure.activity_context()
        contexts.append(context)
        while not context.cancel_requested:  # noqa: ASYNC110 # it has no other way to hear
            await asyncio.sleep(0)
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

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)
        await stage.until(lambda: contexts)
        began = stage.elapsed
        await handle.cancel("enough")

        assert isinstance(await handle.wait(), perdure.Failed)
        assert stage.elapsed == began
    assert outcomes == ["stopped in the middle"]
    assert len(contexts) == 1


@pytest.mark.parametrize("apart", [False, True], ids=["one runtime", "a worker of its own"])
async def test_an_attempt_that_outlasts_the_total_limit_is_cancelled_without_grace(
    apart: bool, url
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
    async with Stage(control, url=url) as stage, stage.worker(work):
        handle = await stage.client.start_orchestration_typed("i", "main", "slow")
        await stage.until(lambda: log)
        # It hears of it within a second; the grace of a cancellation is ten.
        await stage.advance(7)

        assert log == ["begins", "ends"]
        assert await handle.result() == "timeout: it did not finish within total_timeout"
