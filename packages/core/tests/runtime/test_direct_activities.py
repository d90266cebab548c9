"""Activities that the process which schedules them begins itself, as soon as the commit stands."""

from __future__ import annotations

import asyncio

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.contract import CommitAnswer, DelegatingProvider, NewActivity, Provider, TurnCommit
from perdure.errors import StorageFailed
from perdure.model.wire import decode_activity
from perdure.testing import Stage

from .wrapping import Wrapping


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
    held = Wrapping(Held)
    async with Stage(app, plugins=[held]) as stage:
        handle = await stage.client.start_orchestration("i", "flow")
        await held.provider.arrived.wait()
        await rounds()
        before = list(calls)
        held.provider.gate.set()
        result = await handle.result()

    assert before == []
    assert (calls, result) == ([{"number": 7}], 7)


async def test_it_never_begins_where_that_commit_fails() -> None:
    app, calls = application()
    held = Wrapping(Held)
    async with Stage(app, plugins=[held]) as stage:
        held.provider.fails = True
        await stage.client.start_orchestration("i", "flow")
        await held.provider.arrived.wait()
        held.provider.gate.set()
        await stage.settle()

        assert calls == []
        assert stage.runtime.statistics.activities_running == 0


async def test_it_is_called_with_what_was_scheduled_and_the_store_has_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, calls = application()

    def read(data: bytes) -> None:
        raise AssertionError("what is at hand need not be read from the commit")

    monkeypatch.setattr("perdure.runtime.activity_runner.decode_activity", read)
    held = Wrapping(Held)
    async with Stage(app, plugins=[held]) as stage:
        held.provider.gate.set()
        await (await stage.client.start_orchestration("i", "flow")).result()

    (added,) = held.provider.commits[0].add
    assert isinstance(added, NewActivity)
    assert added.lease
    assert decode_activity(added.data).input == '{"number":7}'
    assert calls == [{"number": 7}]


async def test_it_counts_as_one_delivery_that_the_next_commit_finishes() -> None:
    app, _ = application()
    held = Wrapping(Held)
    async with Stage(app, plugins=[held]) as stage:
        held.provider.gate.set()
        await (await stage.client.start_orchestration("i", "flow")).result()

    first, second = held.provider.commits
    (finished,) = second.finish
    assert (finished.activity, finished.token) == (first.add[0].id, first.id)


async def test_a_commit_that_cannot_be_made_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    app, calls = application()

    def breaks(*arguments: object, **named: object) -> None:
        raise RuntimeError("a defect")

    options = RuntimeOptions(max_concurrent_activities=1)
    async with Stage(app, options=options) as stage:
        with monkeypatch.context() as patch:
            patch.setattr("perdure.runtime.leased_instance.make_turn_commit", breaks)
            broken = await stage.client.start_orchestration("broken", "flow")
            await stage.settle()
        sound = await stage.client.start_orchestration("sound", "flow")

        assert await sound.result() == 7
        status = await broken.status()
    assert isinstance(status, perdure.Running)
    assert status.parked is not None
    assert status.parked.reason == "broken"
    assert calls == [{"number": 7}]
