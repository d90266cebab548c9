"""When code, processes or deployments go wrong: parked, poisoned, unregistered, observed."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import perdure
from perdure import Runtime, RuntimeOptions
from perdure.contract import (
    ActivityRequest,
    DelegatingProvider,
    HistoryPage,
    Serves,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import StorageCorrupt, StorageUnavailable
from perdure.observe import DetachedStartRefused, InstanceParked, RuntimeEvent


def _serves(name: str) -> Serves:
    return Serves(orchestrations={name: frozenset({"1.0.0"})})


async def _crash_turns(provider, clock, name: str, times: int) -> None:
    """Lease the instance and let the lease run out, as a process does that is killed."""
    for number in range(times):
        leased = await provider.lease_turns(
            TurnRequest(
                token=f"crash-{number}",
                limit=1,
                lease_for=timedelta(seconds=1),
                serves=_serves(name),
            )
        )
        assert len(leased) == 1
        assert leased[0].attempt == number + 1
        clock.advance(timedelta(seconds=2))


async def test_an_instance_that_ends_its_process_again_and_again_is_poisoned(
    timed_provider, clock
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return "ran"

    handle = await perdure.Client(timed_provider).start_orchestration("i", main)
    await _crash_turns(timed_provider, clock, "main", 6)
    async with Runtime(timed_provider, app):
        status = await handle.wait(timeout=10)

    match status:
        case perdure.Failed(details=perdure.ApplicationFailure(kind=perdure.Poisoned() as kind)):
            assert kind.attempts == 6
            assert "start" in kind.work
        case other:
            raise AssertionError(other)


async def test_a_suspect_runs_once_alone_before_it_is_blamed(
    timed_provider, clock, pass_time
) -> None:
    app = perdure.Registry()
    beside: list[int] = []

    @app.activity
    async def other() -> None:
        await asyncio.sleep(0.02)

    @app.orchestration
    async def innocent(ctx: perdure.OrchestrationContext) -> str:
        beside.append(runtime.statistics.activities_running)
        return "ran"

    @app.orchestration
    async def busy(ctx: perdure.OrchestrationContext) -> str:
        for _ in range(5):
            await ctx.schedule_activity(other)
        return "done"

    client = perdure.Client(timed_provider)
    suspect = await client.start_orchestration("i", innocent)
    await _crash_turns(timed_provider, clock, "innocent", 5)
    company = await client.start_orchestration("j", busy)
    async with Runtime(timed_provider, app) as runtime:

        async def both_ended() -> bool:
            statuses = [await suspect.status(), await company.status()]
            return all(isinstance(status, perdure.Completed) for status in statuses)

        # Turned away while others run, it comes again by the clock.
        await pass_time(both_ended, step=timedelta(milliseconds=200))
    assert beside == [0]


async def test_an_activity_that_ends_its_process_again_and_again_is_poisoned(
    timed_provider, clock, eventually
) -> None:
    app = perdure.Registry()

    @app.activity
    async def killer() -> None:
        raise AssertionError("it must not run any more")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("killer")
        except perdure.ActivityFailed as error:
            return error.type_name
        return "?"

    without = perdure.Registry()
    without.orchestration(name="main")(main)
    handle = await perdure.Client(timed_provider).start_orchestration("i", main)
    async with Runtime(timed_provider, without) as runtime:
        await eventually(lambda: runtime.statistics.turns_committed == 1)
    for number in range(6):
        leased = await timed_provider.lease_activities(
            ActivityRequest(
                token=f"crash-{number}",
                limit=1,
                lease_for=timedelta(seconds=1),
                names=frozenset({"killer"}),
            )
        )
        assert [one.delivery for one in leased] == [number + 1]
        clock.advance(timedelta(seconds=2))
    async with Runtime(timed_provider, app):
        assert await handle.result(timeout=10) == "Poisoned"


async def test_changed_code_parks_an_instance_until_fitting_code_comes(
    timed_provider, clock, eventually, pass_time
) -> None:
    def registry(order: str) -> perdure.Registry:
        app = perdure.Registry()

        @app.orchestration
        async def main(ctx: perdure.OrchestrationContext) -> str:
            if order == "wait first":
                await ctx.schedule_wait("go")
            else:
                await asyncio.sleep(1)
            return order

        return app

    told: list[RuntimeEvent] = []

    class Observer:
        @perdure.hookimpl
        def perdure_observe(self, event: RuntimeEvent) -> None:
            told.append(event)

    client = perdure.Client(timed_provider)
    handle = await client.start_orchestration("i", "main")
    async with Runtime(timed_provider, registry("wait first")) as runtime:
        await eventually(lambda: runtime.statistics.turns_committed == 1)
    before = await client.read_execution_history("i", 1)
    await handle.raise_event("go")
    async with Runtime(timed_provider, registry("sleep first"), plugins=[Observer()]):
        await eventually(lambda: any(isinstance(event, InstanceParked) for event in told))

        async def parked() -> bool:
            match await handle.status():
                case perdure.Running(parked=perdure.Parked(reason="nondeterminism") as why):
                    assert "WaitCreated(name='go')" in why.details
                    assert "TimerCreated" in why.details
                    assert "event 2" in why.details
                    assert "in main" in why.details
                    return True
                case _:
                    return False

        await eventually(parked)
    assert await client.read_execution_history("i", 1) == before

    async with Runtime(timed_provider, registry("wait first")):

        async def completed() -> bool:
            return isinstance(await handle.status(), perdure.Completed)

        await pass_time(completed)


async def test_a_forbidden_use_parks_an_instance_though_a_library_swallows_it(
    timed_provider, eventually, pass_time
) -> None:
    runs: list[str] = []

    def registry(*, fixed: bool) -> perdure.Registry:
        app = perdure.Registry()

        @app.activity
        async def step(name: str) -> str:
            runs.append(name)
            return name

        async def tool() -> str:
            try:
                return await asyncio.get_running_loop().run_in_executor(None, str)
            except Exception:  # noqa: BLE001 # as a library does that hands errors to a model
                return "an error occurred"

        @app.orchestration
        async def main(ctx: perdure.OrchestrationContext) -> str:
            await ctx.schedule_activity(step, "before")
            if not fixed:
                return await tool()
            return await ctx.schedule_activity(step, "tool")

        return app

    handle = await perdure.Client(timed_provider).start_orchestration("i", "main")
    async with Runtime(timed_provider, registry(fixed=False)):

        async def parked() -> bool:
            match await handle.status():
                case perdure.Running(parked=perdure.Parked(reason="forbidden") as why):
                    assert "move the blocking call into an activity" in why.details
                    assert " in tool" in why.details
                    return True
                case status:
                    assert isinstance(status, perdure.Running)
                    return False

        await eventually(parked)

    async with Runtime(timed_provider, registry(fixed=True)):

        async def completed() -> bool:
            return await handle.status() == perdure.Completed(output='"tool"')

        await pass_time(completed)
    # The result that the void turn had taken was kept.
    assert runs == ["before", "tool"]


async def test_unregistered_work_is_parked_taken_at_once_where_it_is_known_or_fails_in_the_end(
    timed_provider, clock, pass_time
) -> None:
    known = perdure.Registry()

    @known.orchestration
    async def rare(ctx: perdure.OrchestrationContext) -> str:
        return "ran"

    client = perdure.Client(timed_provider)
    taken = await client.start_orchestration("taken", rare)
    failing = await client.start_orchestration("failing", "registered nowhere")
    a_day = RuntimeOptions(unregistered_timeout=timedelta(days=1))
    async with Runtime(timed_provider, perdure.Registry(), options=a_day):

        async def parked() -> bool:
            statuses = [await taken.status(), await failing.status()]
            return all(
                isinstance(status, perdure.Running)
                and status.parked is not None
                and status.parked.reason == "unregistered"
                for status in statuses
            )

        await pass_time(parked)
        now = clock.now()
        async with Runtime(timed_provider, known, options=a_day):
            assert await taken.result(timeout=10) == "ran"
            assert clock.now() == now

            async def failed() -> bool:
                return isinstance(await failing.status(), perdure.Failed)

            await pass_time(failed, step=timedelta(minutes=30))
    match await failing.status():
        case perdure.Failed(details=perdure.ConfigurationFailure(kind=kind)):
            assert kind == perdure.Unregistered(
                what="orchestration", name="registered nowhere", version=None
            )
        case other:
            raise AssertionError(other)
    assert clock.now() - now >= timedelta(hours=24) / timedelta(microseconds=1)


async def test_a_suspect_that_cannot_be_given_back_is_told_of_and_costs_nothing_else(
    timed_provider, clock, eventually, caplog
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def busy(ctx: perdure.OrchestrationContext) -> None:
        return

    @app.orchestration
    async def suspect(ctx: perdure.OrchestrationContext) -> None:
        return

    class Throttled(DelegatingProvider):
        async def release_turn(self, release: TurnRelease) -> None:
            if release.parked is not None:
                raise StorageUnavailable("throttled", operation="release_turn")
            await super().release_turn(release)

    client = perdure.Client(timed_provider)
    handle = await client.start_orchestration("busy", busy)
    await client.start_orchestration("s", suspect)
    await _crash_turns(timed_provider, clock, "suspect", 2)
    async with Runtime(Throttled(timed_provider), app, options=RuntimeOptions(max_attempts=2)):
        await handle.result(timeout=10)
        await eventually(lambda: "was not given back: throttled" in caplog.text)
        gc.collect()

    assert "never retrieved" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_observers_hear_of_refused_detached_starts_and_one_that_raises_disturbs_nothing(
    provider, caplog
) -> None:
    app = perdure.Registry()
    told: list[RuntimeEvent] = []

    class Broken:
        @perdure.hookimpl
        def perdure_observe(self, event: RuntimeEvent) -> None:
            raise SystemExit("observer")

    class Observer:
        @perdure.hookimpl
        def perdure_observe(self, event: RuntimeEvent) -> None:
            told.append(event)

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return ctx.schedule_orchestration(main, instance="taken")

    client = perdure.Client(provider)
    taken = await client.start_orchestration("taken", "registered nowhere")
    async with Runtime(provider, app, plugins=[Broken(), Observer()]):
        handle = await client.start_orchestration("i", main)

        assert await handle.result(timeout=10) == "taken"
    refused = [event for event in told if isinstance(event, DetachedStartRefused)]
    assert [(event.instance, event.detached) for event in refused] == [("i", "taken")]
    assert isinstance(await taken.status(), perdure.Running)
    assert "an observer raised" in caplog.text


async def test_undecodable_messages_are_kept_and_shown(
    timed_provider, clock, eventually, pass_time
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    from perdure.contract import Message, MessageKind

    client = perdure.Client(timed_provider)
    handle = await client.start_orchestration("i", main)
    await timed_provider.send(
        [Message(id="broken", instance="i", kind=MessageKind.EVENT, data=b"\xff no json")]
    )
    async with Runtime(timed_provider, app, options=RuntimeOptions()):

        async def parked() -> bool:
            match await handle.status():
                case perdure.Running(parked=perdure.Parked(reason="undecodable", details=details)):
                    return "broken" in details
                case _:
                    return False

        await eventually(parked)
        await handle.cancel("cannot be mended")

        async def failed() -> bool:
            return isinstance(await handle.status(), perdure.Failed)

        await pass_time(failed)


async def test_an_instance_whose_history_is_corrupt_is_parked_and_goes_on_when_it_is_not(
    timed_provider, eventually, pass_time
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    class Damaged(DelegatingProvider):
        damaged = True

        async def read_history(
            self, instance: str, execution: int, *, incarnation: str, after: int = 0
        ) -> HistoryPage:
            if self.damaged:
                raise StorageCorrupt("event 1 of 'i' is missing", operation="read_history")
            return await super().read_history(
                instance, execution, incarnation=incarnation, after=after
            )

    handle = await perdure.Client(timed_provider).start_orchestration("i", main)
    async with Runtime(timed_provider, app) as runtime:
        await eventually(lambda: runtime.statistics.turns_committed == 1)
    await handle.raise_event("go", '"on"')
    provider = Damaged(timed_provider)
    async with Runtime(provider, app):

        async def parked() -> bool:
            match await handle.status():
                case perdure.Running(parked=perdure.Parked(reason="undecodable", details=details)):
                    return details == "event 1 of 'i' is missing"
                case _:
                    return False

        await eventually(parked)
        provider.damaged = False

        async def completed() -> bool:
            return isinstance(await handle.status(), perdure.Completed)

        await pass_time(completed)
