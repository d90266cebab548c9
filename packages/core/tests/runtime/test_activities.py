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
from perdure import Exponential, Fixed, RetryPolicy, Runtime, RuntimeOptions, history
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    CommitAnswer,
    DelegatingProvider,
    Provider,
    TurnCommit,
)
from perdure.testing import Stage

from .conftest import WatchedProvider
from .manual_time import pass_time, until
from .wrapping import Wrapping


async def test_the_context_keeps_the_idempotency_key_over_retries_and_counts_attempts(url) -> None:
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

    async with Stage(app, resources="pool", url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)

        assert await handle.result() == "flaky"
    assert [context.attempt for context in seen] == [1, 2, 3]
    assert len({context.idempotency_key for context in seen}) == 1
    assert len({context.activity_id for context in seen}) == 3
    assert {context.resources for context in seen} == {"pool"}
    assert {context.delivery for context in seen} == {1}
    assert {context.instance for context in seen} == {"i"}


async def test_an_activity_asks_for_the_resources_by_their_class(url) -> None:
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

    async with Stage(app, resources=Pool(), url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)

        pool, refusal = await handle.result()
    assert pool == "the pool"
    assert refusal == (
        "the resources of the runtime are of type Pool, and activity 'ask_wrongly' asks for dict;"
        " pass it to Runtime(resources=…)"
    )


async def test_plain_functions_run_in_threads_with_their_context(url) -> None:
    app = perdure.Registry()

    @app.activity
    def where() -> list[str]:
        return [threading.current_thread().name, perdure.activity_context().instance]

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> list[str]:
        return await ctx.schedule_activity(where)

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)
        thread, instance = await handle.result()

    assert thread.startswith("perdure-activity")
    assert instance == "i"


def test_the_context_outside_an_activity_is_an_error() -> None:
    with pytest.raises(perdure.PerdureError, match="outside an activity"):
        perdure.activity_context()


async def test_bound_methods_are_activities_under_a_name(url) -> None:
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

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)

        assert await handle.result() == "tea of south"


async def test_a_cancelled_activity_is_told_at_once_and_cancelled_after_the_grace_period(
    url,
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

    async with Stage(app, url=url) as stage:
        handle = await stage.start(main)
        await stage.until(lambda: contexts)
        began = stage.elapsed
        await handle.cancel("enough")
        await stage.until(lambda: contexts[0].cancel_requested)
        assert stage.elapsed == began

        await stage.advance(timedelta(seconds=9.9))
        assert not ended
        await stage.advance(timedelta(seconds=0.2))
        assert ended
        match await handle.status():
            case perdure.Failed(details=perdure.ApplicationFailure(kind=perdure.Cancelled())):
                pass
            case other:
                raise AssertionError(other)


async def test_a_runtime_that_is_closed_gives_its_work_to_the_next_at_once(url) -> None:
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

    async with Stage(app, url=url) as stage:
        handle = await stage.start(main)
        await stage.until(lambda: len(deliveries) == 1)
        await stage.restart()
        began = stage.elapsed
        await stage.until(lambda: len(deliveries) == 2)
        release.set()

        assert await handle.result() == "done"
        assert stage.elapsed == began
        assert [event.delivery for event in await ends(stage)] == [None]
    # Given back by an orderly end, the first delivery does not count against it.
    assert deliveries == [1, 1]


async def test_closing_waits_for_activities_within_the_grace_period() -> None:
    app = perdure.Registry()
    began, ended = asyncio.Event(), []
    clock = perdure.ManualClock()

    @app.activity
    async def short() -> str:
        began.set()
        await clock.sleep(timedelta(seconds=9))
        ended.append(True)
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(short)

    # A stage leaves its runtime without the grace period.
    async with perdure.open_provider("memory://", clock=clock) as provider:
        handle = await perdure.Client(provider).start_orchestration("i", main)
        async with Runtime(provider, app):
            await began.wait()
            asyncio.get_running_loop().call_soon(clock.advance, timedelta(seconds=9))
        assert ended == [True]

        async with Runtime(provider, app):
            assert await handle.result() == "done"
    assert ended == [True]


async def test_mail_is_not_kept_waiting_by_a_slow_activity(url) -> None:
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

    options = RuntimeOptions(cancel_grace=timedelta(0))
    async with Stage(app, url=url, options=options) as stage:
        handle = await stage.start(main)
        await began.wait()
        now = stage.elapsed
        await handle.raise_event("answer", '"yes"')

        assert await handle.result() == "yes"
        assert stage.elapsed == now


async def test_the_lost_answer_of_any_call_changes_nothing(url) -> None:
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

    watched = Wrapping(WatchedProvider)
    async with Stage(app, url=url, plugins=[watched]) as stage:
        losing = watched.provider.lose_next_answer
        losing |= {"create_instance", "send", "commit_turn", "complete_activity"}
        handle = await stage.start(main)
        await handle.raise_event("go", "2")

        assert await handle.result() == 6
        assert losing <= {"complete_activity"}
        events = await stage.history(handle.instance)
    assert ran == [1, 3]
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events].count("EventRaised") == 1


async def test_backoff_waits_are_durable_timers(url) -> None:
    app = perdure.Registry()
    attempts: list[timedelta] = []

    @app.activity
    async def failing() -> None:
        attempts.append(stage.elapsed)
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

    async with Stage(app, url=url) as stage:
        assert await stage.run(main) == "RuntimeError: no"

    gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert gaps == [timedelta(minutes=1), timedelta(minutes=2)]


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


@pytest.mark.parametrize("together", [True, False], ids=["in its turn", "by a worker"])
async def test_a_result_that_is_there_is_not_lost_to_a_slow_storage(together: bool) -> None:
    flows, work = perdure.Registry(), perdure.Registry()
    deliveries: list[int] = []

    @work.activity
    async def job() -> str:
        deliveries.append(perdure.activity_context().delivery)
        return "done"

    @flows.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(job)

    clock = perdure.ManualClock()
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(perdure.open_provider("memory://", clock=clock))
        slow = SlowToStore(provider)
        if together:
            await stack.enter_async_context(Runtime(slow, flows, work))
        else:
            await stack.enter_async_context(Runtime(provider, flows))
            await stack.enter_async_context(Runtime(slow, work))
        handle = await perdure.Client(provider).start_orchestration("i", main)
        await until(clock, slow.asked.is_set)
        await stack.enter_async_context(Runtime(provider, flows, work))
        # Several leases long.
        await pass_time(clock, timedelta(seconds=200))
        slow.let.set()
        await until(clock, lambda: has_ended(handle))

        assert await handle.result(timeout=0) == "done"
    assert deliveries == [1]


async def ends(stage: Stage) -> list[history.ActivityCompleted]:
    """The results of activities in the history of the only instance."""
    [info] = await stage.client.list_instances()
    events = await stage.history(info.instance)
    return [event for event in events if isinstance(event, history.ActivityCompleted)]


async def has_ended(handle: perdure.Handle[object]) -> bool:
    return not isinstance(await handle.status(), perdure.Running)


async def test_a_thread_that_hangs_under_a_lost_lease_does_not_hold_up_the_next_delivery(
    url,
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

    forgetful = Wrapping(Forgetful)
    options = RuntimeOptions()  # with leases that are renewed while the test waits
    try:
        async with Stage(app, url=url, options=options, plugins=[forgetful]) as stage:
            handle = await stage.start(flow)
            await stage.until(lambda: deliveries)
            await stage.advance(options.activity_lease)

            assert await handle.result() == "delivery 2"
            assert [event.delivery for event in await ends(stage)] == [2]
            gate.set()  # the end of the runtime waits for its thread
    finally:
        gate.set()

    assert deliveries == [1, 2]
