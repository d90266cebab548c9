"""Activities in a runtime: their context, their leases, cancellation, shutdown."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import perdure
import pytest
from perdure import Exponential, Fixed, RetryPolicy, Runtime, RuntimeOptions
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    CommitAnswer,
    DelegatingProvider,
    Provider,
    TurnCommit,
)


async def test_the_context_keeps_the_idempotency_key_over_retries_and_counts_attempts(
    provider,
) -> None:
    app = perdure.Registry()
    seen: list[perdure.ActivityContext] = []

    @app.activity
    async def flaky() -> str:
        context = perdure.activity_context()
        seen.append(context)
        if context.attempt < 3:
            raise ValueError("not yet")
        return context.name

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        policy = RetryPolicy(max_attempts=5, backoff=Fixed(timedelta(milliseconds=1)))
        return await ctx.schedule_activity(flaky, retry=policy)

    async with Runtime(provider, app, resources="pool"):
        handle = await perdure.Client(provider).start_orchestration("i", main)

        assert await handle.result(timeout=10) == "flaky"
    assert [context.attempt for context in seen] == [1, 2, 3]
    assert len({context.idempotency_key for context in seen}) == 1
    assert len({context.activity_id for context in seen}) == 3
    assert {context.resources for context in seen} == {"pool"}
    assert {context.delivery for context in seen} == {1}
    assert {context.instance for context in seen} == {"i"}


async def test_an_activity_asks_for_the_resources_by_their_class(provider) -> None:
    class Pool:
        name = "the pool"

    app = perdure.Registry()

    @app.activity
    async def ask() -> str:
        return perdure.activity_context(Pool).resources.name

    @app.activity
    async def ask_wrongly() -> str:
        return perdure.activity_context(dict).activity_id

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> list[str]:
        try:
            await ctx.schedule_activity(ask_wrongly)
        except perdure.ActivityFailed as failed:
            return [await ctx.schedule_activity(ask), failed.message]
        return []

    async with Runtime(provider, app, resources=Pool()):
        handle = await perdure.Client(provider).start_orchestration("i", main)

        pool, refusal = await handle.result(timeout=10)
    assert pool == "the pool"
    assert refusal == (
        "the resources of the runtime are of type Pool, and activity 'ask_wrongly' asks for dict;"
        " pass it to Runtime(resources=…)"
    )


async def test_plain_functions_run_in_threads_with_their_context(provider) -> None:
    app = perdure.Registry()

    @app.activity
    def where() -> list[str]:
        return [threading.current_thread().name, perdure.activity_context().instance]

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> list[str]:
        return await ctx.schedule_activity(where)

    async with Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)
        thread, instance = await handle.result(timeout=10)

    assert thread.startswith("perdure-activity")
    assert instance == "i"


def test_the_context_outside_an_activity_is_an_error() -> None:
    with pytest.raises(perdure.PerdureError, match="outside an activity"):
        perdure.activity_context()


async def test_bound_methods_are_activities_under_a_name(provider) -> None:
    app = perdure.Registry()

    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        async def describe(self, item: str) -> str:
            return f"{item} of {self.name}"

    app.register_activity(Shop("north").describe, name="north")
    app.register_activity(Shop("south").describe, name="south")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity("south", "tea", result_type=str)

    async with Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)

        assert await handle.result(timeout=10) == "tea of south"


async def test_a_cancelled_activity_is_told_at_once_and_cancelled_after_the_grace_period(
    timed_provider, clock, eventually, pass_time
) -> None:
    app = perdure.Registry()
    contexts: list[perdure.ActivityContext] = []
    ended: list[str] = []

    @app.activity
    async def endless() -> None:
        contexts.append(perdure.activity_context())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(endless)

    async with Runtime(timed_provider, app):
        handle = await perdure.Client(timed_provider).start_orchestration("i", main)
        await eventually(lambda: contexts)
        began = clock.now()
        await handle.cancel("enough")
        await eventually(lambda: contexts[0].cancel_requested)
        assert clock.now() == began
        assert not ended

        await pass_time(lambda: ended)
        assert 9_000_000 <= clock.now() - began <= 12_000_000

        match await handle.status():
            case perdure.Failed(details=perdure.ApplicationFailure(kind=perdure.Cancelled())):
                pass
            case other:
                raise AssertionError(other)


async def test_a_runtime_that_is_closed_gives_its_work_to_the_next_at_once(
    timed_provider, clock, eventually
) -> None:
    app = perdure.Registry()
    deliveries: list[int] = []
    release = asyncio.Event()

    @app.activity
    async def slow() -> str:
        deliveries.append(perdure.activity_context().delivery)
        await release.wait()
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(slow)

    options = RuntimeOptions(shutdown_grace=timedelta(0))
    handle = await perdure.Client(timed_provider).start_orchestration("i", main)
    async with Runtime(timed_provider, app, options=options):
        await eventually(lambda: len(deliveries) == 1)
    release.set()
    async with Runtime(timed_provider, app, options=options):
        await eventually(lambda: len(deliveries) == 2)
        began = clock.now()

        assert await handle.result(timeout=10) == "done"
        assert clock.now() == began
    # Given back by an orderly end, the first delivery does not count against it.
    assert deliveries == [1, 1]


async def test_closing_waits_for_activities_within_the_grace_period(provider) -> None:
    app = perdure.Registry()
    began, ended = asyncio.Event(), []

    @app.activity
    async def short() -> str:
        began.set()
        await asyncio.sleep(0.05)
        ended.append(True)
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(short)

    async with Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("i", main)
        await began.wait()
    assert ended == [True]

    async with Runtime(provider, app):
        assert await handle.result(timeout=10) == "done"
    assert ended == [True]


async def test_mail_is_not_kept_waiting_by_a_slow_activity(
    timed_provider, clock, eventually
) -> None:
    app = perdure.Registry()
    began = asyncio.Event()

    @app.activity
    async def slow() -> None:
        began.set()
        await asyncio.Event().wait()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        work = ctx.schedule_activity(slow)
        answer = await ctx.schedule_wait("answer", str)
        work.cancel()
        return answer

    async with Runtime(timed_provider, app, options=RuntimeOptions(cancel_grace=timedelta(0))):
        handle = await perdure.Client(timed_provider).start_orchestration("i", main)
        await began.wait()
        now = clock.now()
        await handle.raise_event("answer", '"yes"')

        assert await handle.result(timeout=10) == "yes"
        assert clock.now() == now


async def test_the_lost_answer_of_any_call_changes_nothing(provider) -> None:
    app = perdure.Registry()
    ran: list[int] = []

    @app.activity
    async def work(number: int) -> int:
        ran.append(number)
        return number

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        first = await ctx.schedule_activity(work, 1)
        second = await ctx.schedule_wait("go", int)
        return first + second + await ctx.schedule_activity(work, 3)

    client = perdure.Client(provider)
    provider.lose_next_answer |= {"create_instance", "send", "commit_turn", "complete_activity"}
    async with Runtime(provider, app):
        handle = await client.start_orchestration("i", main)
        await handle.raise_event("go", "2")

        assert await handle.result(timeout=10) == 6
    assert provider.lose_next_answer <= {"complete_activity"}
    assert ran == [1, 3]
    events = await client.read_execution_history("i", 1)
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events].count("EventRaised") == 1


async def test_backoff_waits_are_durable_timers(timed_provider, clock, pass_time) -> None:
    app = perdure.Registry()
    attempts: list[int] = []

    @app.activity
    async def failing() -> None:
        attempts.append(clock.now())
        raise RuntimeError("no")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        policy = RetryPolicy(
            max_attempts=3, backoff=Exponential(timedelta(minutes=1), 2.0, jitter=0)
        )
        try:
            await ctx.schedule_activity(failing, retry=policy)
        except perdure.ActivityFailed as error:
            return f"{error.type_name}: {error.message}"
        return "?"

    async with Runtime(timed_provider, app):
        handle = await perdure.Client(timed_provider).start_orchestration("i", main)

        async def ended() -> bool:
            return isinstance(await handle.status(), perdure.Completed)

        await pass_time(ended, step=timedelta(seconds=10))
    assert await handle.status() == perdure.Completed(output='"RuntimeError: no"')
    gaps = [round((b - a) / 60_000_000, 1) for a, b in itertools.pairwise(attempts)]
    assert gaps[0] >= 1.0
    assert gaps[1] >= 2.0
    assert gaps[1] <= 2.5


class SlowToStore(DelegatingProvider):
    """Stores results of activities, alone or with a turn, only when it is let."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._wait()
        await super().complete_activity(completion)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        if commit.finish:
            await self._wait()
        return await super().commit_turn(commit)

    async def _wait(self) -> None:
        self.asked.set()
        await self.let.wait()


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False], ids=["in its turn", "by a worker"])
async def test_a_result_that_is_there_is_not_lost_to_a_slow_storage(
    timed_provider, clock, pass_time, together
) -> None:
    flows, work = perdure.Registry(), perdure.Registry()
    deliveries: list[int] = []

    @work.activity
    async def job() -> str:
        deliveries.append(perdure.activity_context().delivery)
        return "done"

    @flows.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(job)

    slow = SlowToStore(timed_provider)
    async with AsyncExitStack() as stack:
        if together:
            await stack.enter_async_context(Runtime(slow, flows, work))
        else:
            await stack.enter_async_context(Runtime(timed_provider, flows))
            await stack.enter_async_context(Runtime(slow, work))
        handle = await perdure.Client(timed_provider).start_orchestration("i", main)
        await pass_time(slow.asked.is_set)
        await stack.enter_async_context(Runtime(timed_provider, flows, work))
        # Several leases long.
        end = clock.now() + 200_000_000
        await pass_time(lambda: clock.now() >= end)
        slow.let.set()
        waiting = asyncio.ensure_future(handle.result())
        await pass_time(waiting.done)

        assert await waiting == "done"
    assert deliveries == [1]


async def test_a_thread_that_hangs_under_a_lost_lease_does_not_hold_up_the_next_delivery(
    timed_provider, clock, pass_time
) -> None:
    app, gate, deliveries = perdure.Registry(), threading.Event(), list[int]()

    @app.activity
    def work() -> str:
        deliveries.append(perdure.activity_context().delivery)
        if len(deliveries) == 1:
            gate.wait(30)
        return f"delivery {perdure.activity_context().delivery}"

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(work)

    class Forgetful(DelegatingProvider):
        """Tells once that all activity leases are gone, as where another process had them."""

        told = False

        async def renew_activities(
            self, leases: Sequence[ActivityLease], *, lease_for: timedelta
        ) -> frozenset[ActivityLease]:
            if self.told:
                return await super().renew_activities(leases, lease_for=lease_for)
            self.told = True
            for lease in leases:
                await self.release_activity(ActivityRelease(lease=lease, counted=True))
            return frozenset(leases)

    try:
        async with Runtime(Forgetful(timed_provider), app):
            handle = await perdure.Client(timed_provider).start_orchestration("it", flow)

            async def has_ended() -> bool:
                return not isinstance(await handle.status(), perdure.Running)

            await pass_time(has_ended)
            result = await handle.result(timeout=1)
            gate.set()  # the end of the runtime waits for its thread
    finally:
        gate.set()

    assert result == "delivery 2"
    assert deliveries == [1, 2]
