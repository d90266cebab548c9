"""Activities whose tag no runtime serves: parked by name, left for who serves it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.runtime.parking import unregistered_tag
from perdure.testing import Stage


def registry() -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def work() -> str:
        return "done"

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, tag: str | None) -> str:
        return await ctx.schedule_activity(work, tag=tag)

    return app


async def mark_of(handle: perdure.Handle[object]) -> perdure.Parked | None:
    status = await handle.status()
    return status.parked if isinstance(status, perdure.Running) else None


async def test_a_tag_that_no_runtime_serves_parks_by_name_until_a_runtime_serves_it(url) -> None:
    async with Stage(registry(), url=url) as stage:
        handle = await stage.client.start_orchestration("i", "flow", '"gpuu"')
        await stage.advance(3)
        mark = await mark_of(handle)
        now = stage.elapsed
        async with stage.worker(registry(), options=RuntimeOptions(tags=frozenset({"gpuu"}))):
            assert await handle.result() == "done"
            assert stage.elapsed == now

    assert mark is not None
    assert mark.reason == "unregistered"
    assert "'gpuu'" in mark.details


async def test_untagged_work_is_told_apart_where_only_tags_are_served(url) -> None:
    only_tagged = RuntimeOptions(tags=frozenset({"gpu"}))
    async with Stage(registry(), url=url, options=only_tagged) as stage:
        handle = await stage.client.start_orchestration("i", "flow")
        await stage.advance(3)
        mark = await mark_of(handle)

    assert mark is not None
    assert "is untagged" in mark.details


async def test_work_of_an_unregistered_tag_fails_after_the_timeout_naming_the_tag(url) -> None:
    options = RuntimeOptions(unregistered_timeout=timedelta(hours=1))
    async with Stage(registry(), url=url, options=options) as stage:
        handle = await stage.client.start_orchestration("i", "flow", '"gpuu"')
        await stage.advance(timedelta(minutes=59))
        before = await handle.status()
        await stage.advance(timedelta(minutes=2))
        status = await handle.status()

    assert isinstance(before, perdure.Running)
    assert isinstance(status, perdure.Failed)
    assert "'gpuu'" in status.details.display_message()


@pytest.mark.slow
async def test_untagged_work_runs_while_much_of_an_unregistered_tag_waits(url) -> None:
    async with Stage(registry(), url=url) as stage:
        for number in range(150):
            await stage.client.start_orchestration(f"tagged-{number}", "flow", '"gpuu"')
        last = await stage.client.start_orchestration("tagged", "flow", '"gpuu"')

        async def is_parked() -> bool:
            return await mark_of(last) is not None

        for _ in range(60):
            if await is_parked():
                break
            await stage.advance(1)
        assert await is_parked()
        now = stage.elapsed
        free = await stage.client.start_orchestration("free", "flow")

        assert await free.result() == "done"
        assert stage.elapsed == now


@pytest.mark.parametrize(
    ("tag", "served", "what"),
    [
        ("gpuu", {None}, "has the tag 'gpuu', and this runtime serves only untagged activities;"),
        ("gpuu", {"gpu", "cpu"}, "this runtime serves only the tags 'cpu', 'gpu';"),
        ("gpuu", {None, "cpu"}, "this runtime serves only untagged activities and the tags 'cpu';"),
        (None, {"gpu"}, "is untagged, and this runtime serves only the tags 'gpu';"),
    ],
)
def test_the_mark_says_which_tags_are_served(tag, served, what) -> None:
    details = unregistered_tag("work", tag, frozenset(served))

    assert details.startswith("activity 'work' ")
    assert what in details


@pytest.mark.slow
async def test_work_that_waits_for_a_busy_runtime_of_its_tag_is_not_marked(url) -> None:
    gate, begun, gpu = asyncio.Event(), list[str](), perdure.Registry()

    @gpu.activity
    async def work() -> str:
        begun.append(perdure.activity_context().instance)
        await gate.wait()
        return "done"

    busy = RuntimeOptions(tags=frozenset({"gpu"}), max_concurrent_activities=1)
    async with (
        Stage(registry(), url=url, options=RuntimeOptions()) as stage,
        stage.worker(gpu, options=busy),
    ):
        handles = [await stage.client.start_orchestration(name, "flow", '"gpu"') for name in "ab"]
        await stage.until(lambda: begun)
        # For several looks, and several leases of the work under way.
        for _ in range(90):
            await stage.advance(1)
            assert [await mark_of(handle) for handle in handles] == [None, None]
        gate.set()

        assert [await handle.result() for handle in handles] == ["done", "done"]
    assert sorted(begun) == ["a", "b"]
