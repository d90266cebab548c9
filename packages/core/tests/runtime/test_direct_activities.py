"""Activities that the process which schedules them begins itself, as soon as the commit stands."""

from __future__ import annotations

import asyncio

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.contract import CommitAnswer, DelegatingProvider, NewActivity, Provider, TurnCommit
from perdure.errors import StorageFailed
from perdure.model.wire import decode_activity


class Held(DelegatingProvider):
    """Holds the first commit until it is told how to go on."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.commits: list[TurnCommit] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.fails = False

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        first = not self.commits
        self.commits.append(commit)
        if first:
            self.arrived.set()
            await self.gate.wait()
            if self.fails:
                raise StorageFailed("the disk is full", operation="commit_turn")
        return await super().commit_turn(commit)


def application() -> tuple[perdure.Registry, list[dict[str, int]]]:
    app, calls = perdure.Registry(), list[dict[str, int]]()

    @app.activity
    async def work(order: dict[str, int]) -> int:
        calls.append(order)
        return order["number"]

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> int:
        return await ctx.schedule_activity(work, {"number": 7})

    return app, calls


async def rounds() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_it_does_not_begin_before_the_commit_that_schedules_it_stands() -> None:
    app, calls = application()
    async with perdure.open_provider("memory://") as inner:
        provider = Held(inner)
        async with Runtime(provider, app):
            handle = await perdure.Client(inner).start_orchestration("i", "flow")
            await provider.arrived.wait()
            await rounds()
            before = list(calls)
            provider.gate.set()
            result = await handle.result(timeout=5)

    assert before == []
    assert (calls, result) == ([{"number": 7}], 7)


async def test_it_never_begins_where_that_commit_fails(clock: perdure.ManualClock) -> None:
    app, calls = application()
    async with perdure.open_provider("memory://", clock=clock) as inner:
        provider = Held(inner)
        provider.fails = True
        async with Runtime(provider, app) as runtime:
            await perdure.Client(inner).start_orchestration("i", "flow")
            await provider.arrived.wait()
            provider.gate.set()
            await rounds()

            assert calls == []
            assert runtime.statistics.activities_running == 0


async def test_it_is_called_with_what_was_scheduled_and_the_store_has_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, calls = application()

    def read(data: bytes) -> None:
        raise AssertionError("what is at hand need not be read from the commit")

    monkeypatch.setattr("perdure.runtime.activity_runner.decode_activity", read)
    async with perdure.open_provider("memory://") as inner:
        provider = Held(inner)
        provider.gate.set()
        async with Runtime(provider, app):
            handle = await perdure.Client(inner).start_orchestration("i", "flow")
            await handle.result(timeout=5)

    (added,) = provider.commits[0].add
    assert isinstance(added, NewActivity)
    assert added.lease
    assert decode_activity(added.data).input == '{"number":7}'
    assert calls == [{"number": 7}]


async def test_it_counts_as_one_delivery_that_the_next_commit_finishes() -> None:
    app, _ = application()
    async with perdure.open_provider("memory://") as inner:
        provider = Held(inner)
        provider.gate.set()
        async with Runtime(provider, app):
            handle = await perdure.Client(inner).start_orchestration("i", "flow")
            await handle.result(timeout=5)

    first, second = provider.commits
    (finished,) = second.finish
    assert (finished.activity, finished.token) == (first.add[0].id, first.id)


async def test_a_commit_that_cannot_be_made_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    app, calls = application()

    def breaks(*arguments: object, **named: object) -> None:
        raise RuntimeError("a defect")

    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        options = RuntimeOptions(max_concurrent_activities=1)
        async with Runtime(provider, app, options=options):
            with monkeypatch.context() as patch:
                patch.setattr("perdure.runtime.leased_instance.make_turn_commit", breaks)
                await client.start_orchestration("broken", "flow")
                await rounds()
            handle = await client.start_orchestration("sound", "flow")

            assert await handle.result(timeout=5) == 7
            status = await client.get_orchestration_status("broken")
    assert isinstance(status, perdure.Running)
    assert status.parked is not None
    assert status.parked.reason == "broken"
    assert calls == [{"number": 7}]
