"""When code, processes or deployments go wrong: parked, poisoned, unregistered, observed."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.contract import (
    DelegatingProvider,
    HistoryPage,
    Message,
    MessageKind,
    TurnRelease,
)
from perdure.errors import StorageCorrupt, StorageUnavailable
from perdure.observe import DetachedStartRefused, InstanceParked, RuntimeEvent
from perdure.testing import NothingHappens, Stage

from .wrapping import Killing, Wrapping

OPTIONS = RuntimeOptions()


async def crash(stage: Stage, times: int, begun: list[str]) -> None:
    """Kill the process each time that something has begun, which it does when a lease is over."""
    for number in range(1, times + 1):
        await stage.until(lambda count=number: len(begun) == count)
        await stage.crash()


async def test_an_instance_that_ends_its_process_again_and_again_is_poisoned(url) -> None:
    app, begun = perdure.Registry(), list[str]()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        begun.append(ctx.instance)
        return "ran"

    killing = Wrapping(Killing)
    async with Stage(app, url=url, options=OPTIONS, plugins=[killing]) as stage:
        handle = await stage.client.start_orchestration("victim", main)
        await crash(stage, 6, begun)
        killing.provider.victim = ""
        status = await handle.wait()

    assert len(begun) == 6
    match status:
        case perdure.Failed(details=perdure.ApplicationFailure(kind=perdure.Poisoned() as kind)):
            assert kind.attempts == 6
            assert "start" in kind.work
        case other:
            raise AssertionError(other)


async def test_a_suspect_runs_once_alone_before_it_is_blamed(url) -> None:
    app, begun, beside, gate = perdure.Registry(), list[str](), list[int](), asyncio.Event()

    @app.activity
    async def other() -> None:
        await gate.wait()

    @app.orchestration
    async def innocent(ctx: perdure.OrchestrationContext) -> str:
        begun.append("innocent")
        beside.append(stage.runtime.statistics.activities_running)
        return "ran"

    @app.orchestration
    async def busy(ctx: perdure.OrchestrationContext) -> str:
        for _ in range(5):
            await ctx.schedule_activity(other)
        return "done"

    killing = Wrapping(Killing)
    async with Stage(app, url=url, options=OPTIONS, plugins=[killing]) as stage:
        suspect = await stage.client.start_orchestration("victim", innocent)
        await crash(stage, 4, begun)
        await stage.until(lambda: len(begun) == 5)
        company = await stage.start(busy)
        await stage.crash()
        killing.provider.victim = ""
        await stage.until(lambda: stage.runtime.statistics.activities_running)
        # The lease of the crashed process ends, and the suspect is turned away while others run.
        await stage.advance(OPTIONS.turn_lease + timedelta(seconds=1))
        assert len(begun) == 5
        gate.set()

        assert await suspect.result() == "ran"
        assert await company.result() == "done"
    assert len(begun) == 6
    assert beside[-1] == 0


async def test_an_activity_that_ends_its_process_again_and_again_is_poisoned(url) -> None:
    app, begun = perdure.Registry(), list[str]()

    @app.activity
    async def killer() -> None:
        begun.append("killer")
        await asyncio.Event().wait()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(killer)
        except perdure.ActivityFailed as error:
            return error.type_name
        return "?"

    async with Stage(app, url=url, options=OPTIONS) as stage:
        handle = await stage.start(main)
        await crash(stage, 6, begun)

        assert await handle.result() == "Poisoned"
    assert len(begun) == 6


async def parked(handle: perdure.Handle[object]) -> perdure.Parked | None:
    status = await handle.status()
    assert isinstance(status, perdure.Running)
    return status.parked


async def test_changed_code_parks_an_instance_until_fitting_code_comes(url) -> None:
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

    async with Stage(registry("wait first"), url=url, plugins=[Observer()]) as stage:
        handle = await stage.client.start_orchestration("i", "main")
        await stage.settle()
        before = await stage.history("i")
        await stage.restart(registry("sleep first"))
        await handle.raise_event("go")
        await stage.settle()

        why = await parked(handle)
        assert why is not None
        assert why.reason == "nondeterminism"
        assert "WaitCreated(name='go')" in why.details
        assert "TimerCreated" in why.details
        assert "event 2" in why.details
        assert "in main" in why.details
        assert [event.instance for event in told if isinstance(event, InstanceParked)] == ["i"]
        assert await stage.history("i") == before

        await stage.restart(registry("wait first"))
        assert await handle.result() == "wait first"


async def test_a_forbidden_use_parks_an_instance_though_a_library_swallows_it(url) -> None:
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

    async with Stage(registry(fixed=False), url=url) as stage:
        handle = await stage.client.start_orchestration("i", "main")
        await stage.settle()
        why = await parked(handle)
        assert why is not None
        assert why.reason == "forbidden"
        assert "move the blocking call into an activity" in why.details
        assert " in tool" in why.details

        await stage.restart(registry(fixed=True))
        assert await handle.wait() == perdure.Completed(output='"tool"')
    # The result that the void turn had taken was kept.
    assert runs == ["before", "tool"]


async def test_unregistered_work_is_parked_taken_at_once_where_it_is_known_or_fails_in_the_end(
    url,
) -> None:
    known = perdure.Registry()

    @known.orchestration
    async def rare(ctx: perdure.OrchestrationContext) -> str:
        return "ran"

    a_day = RuntimeOptions(unregistered_timeout=timedelta(days=1))
    async with Stage(url=url, options=a_day) as stage:
        taken = await stage.client.start_orchestration("taken", rare)
        failing = await stage.client.start_orchestration("failing", "registered nowhere")
        await stage.advance(3)
        for handle in (taken, failing):
            why = await parked(handle)
            assert why is not None
            assert why.reason == "unregistered"

        now = stage.elapsed
        async with stage.worker(known, options=a_day):
            assert await taken.result() == "ran"
            assert stage.elapsed == now
            await stage.advance(timedelta(hours=23))
            assert await parked(failing) is not None
            await stage.advance(timedelta(hours=1, minutes=1))
        status = await failing.status()

    match status:
        case perdure.Failed(details=perdure.ConfigurationFailure(kind=kind)):
            assert kind == perdure.Unregistered(
                what="orchestration", name="registered nowhere", version=None
            )
        case other:
            raise AssertionError(other)


async def test_a_suspect_that_cannot_be_given_back_is_told_of_and_costs_nothing_else(
    url, caplog
) -> None:
    app, begun, gate = perdure.Registry(), list[str](), asyncio.Event()

    @app.activity
    async def other() -> None:
        await gate.wait()

    @app.orchestration
    async def busy(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(other)

    @app.orchestration
    async def suspect(ctx: perdure.OrchestrationContext) -> None:
        begun.append("suspect")

    class Throttled(Killing):
        async def release_turn(self, release: TurnRelease) -> None:
            if release.parked is not None:
                raise StorageUnavailable("throttled", operation="release_turn")
            await super().release_turn(release)

    options = RuntimeOptions(max_attempts=2)
    async with Stage(app, url=url, options=options, plugins=[Wrapping(Throttled)]) as stage:
        await stage.client.start_orchestration("victim", suspect)
        await crash(stage, 1, begun)
        await stage.until(lambda: len(begun) == 2)
        handle = await stage.start(busy)
        await stage.crash()
        await stage.until(lambda: stage.runtime.statistics.activities_running)
        await stage.advance(options.turn_lease + timedelta(seconds=1))
        await stage.until(lambda: "was not given back: throttled" in caplog.text)
        gate.set()
        await handle.wait()
        gc.collect()

    assert "never retrieved" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_observers_hear_of_refused_detached_starts_and_one_that_raises_disturbs_nothing(
    url, caplog
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

    async with Stage(app, url=url, plugins=[Broken(), Observer()]) as stage:
        taken = await stage.client.start_orchestration("taken", "registered nowhere")
        handle = await stage.client.start_orchestration("i", main)

        assert await handle.result() == "taken"
        assert isinstance(await taken.status(), perdure.Running)
    refused = [event for event in told if isinstance(event, DetachedStartRefused)]
    assert [(event.instance, event.detached) for event in refused] == [("i", "taken")]
    assert "an observer raised" in caplog.text


async def test_undecodable_messages_are_kept_and_shown(url) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)
        broken = Message(id="broken", instance="i", kind=MessageKind.EVENT, data=b"\xff no json")
        await stage.client.provider.send([broken])
        with pytest.raises(NothingHappens, match=r"parked \(undecodable\): .*broken"):
            await handle.wait()

        await handle.cancel("cannot be mended")
        await stage.until(lambda: has_ended(handle))
        assert isinstance(await handle.status(), perdure.Failed)


async def has_ended(handle: perdure.Handle[object]) -> bool:
    return not isinstance(await handle.status(), perdure.Running)


async def test_an_instance_whose_history_is_corrupt_is_parked_and_goes_on_when_it_is_not(
    url,
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

    damaged = Wrapping(Damaged)
    async with Stage(app, url=url, plugins=[damaged]) as stage:
        handle = await stage.client.start_orchestration("i", main)
        await stage.settle()
        await stage.restart()
        await handle.raise_event("go", '"on"')
        with pytest.raises(
            NothingHappens, match=r"parked \(undecodable\): event 1 of 'i' is missing"
        ):
            await handle.wait()

        damaged.provider.damaged = False
        await stage.until(lambda: has_ended(handle))
        assert await handle.result() == "on"
