"""Activities whose tag no runtime serves: parked by name, left for who serves it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.runtime.parking import unregistered_tag


def registry() -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def work() -> str:
        return "done"

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, tag: str | None) -> str:
        return await ctx.schedule_activity(work, tag=tag)

    return app


async def mark_of(handle: perdure.OrchestrationHandle[object]) -> perdure.Parked | None:
    status = await handle.status()
    return status.parked if isinstance(status, perdure.Running) else None


async def test_a_tag_that_no_runtime_serves_parks_by_name_until_a_runtime_serves_it(
    timed_provider, clock, pass_time
) -> None:
    client = perdure.Client(timed_provider)
    async with Runtime(timed_provider, registry()):
        handle = await client.start_orchestration("i", "flow", '"gpuu"')

        async def is_parked() -> bool:
            return await mark_of(handle) is not None

        await pass_time(is_parked)
        mark = await mark_of(handle)
        now = clock.now()
        async with Runtime(
            timed_provider, registry(), options=RuntimeOptions(tags=frozenset({"gpuu"}))
        ):
            result = await handle.result(timeout=10)

    assert mark is not None
    assert mark.reason == "unregistered"
    assert "'gpuu'" in mark.details
    assert result == "done"
    assert clock.now() == now


async def test_untagged_work_is_told_apart_where_only_tags_are_served(
    timed_provider, pass_time
) -> None:
    client = perdure.Client(timed_provider)
    only_tagged = RuntimeOptions(tags=frozenset({"gpu"}))
    async with Runtime(timed_provider, registry(), options=only_tagged):
        handle = await client.start_orchestration("i", "flow")

        async def is_parked() -> bool:
            return await mark_of(handle) is not None

        await pass_time(is_parked)
        mark = await mark_of(handle)

    assert mark is not None
    assert "is untagged" in mark.details


@pytest.mark.slow
async def test_work_of_an_unregistered_tag_fails_after_the_timeout_naming_the_tag(
    timed_provider, pass_time
) -> None:
    client = perdure.Client(timed_provider)
    options = RuntimeOptions(unregistered_timeout=timedelta(hours=1))
    async with Runtime(timed_provider, registry(), options=options):
        handle = await client.start_orchestration("i", "flow", '"gpuu"')

        async def has_failed() -> bool:
            return isinstance(await handle.status(), perdure.Failed)

        await pass_time(has_failed, step=timedelta(minutes=1))
        status = await handle.status()

    assert isinstance(status, perdure.Failed)
    assert "'gpuu'" in status.details.display_message()


@pytest.mark.slow
async def test_untagged_work_runs_while_much_of_an_unregistered_tag_waits(
    timed_provider, clock, pass_time
) -> None:
    client = perdure.Client(timed_provider)
    async with Runtime(timed_provider, registry()):
        for number in range(150):
            await client.start_orchestration(f"tagged-{number}", "flow", '"gpuu"')
        last = await client.start_orchestration("tagged", "flow", '"gpuu"')

        async def is_parked() -> bool:
            return await mark_of(last) is not None

        await pass_time(is_parked)
        now = clock.now()
        result = await (await client.start_orchestration("free", "flow")).result(timeout=10)

    assert result == "done"
    assert clock.now() == now


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


async def test_work_that_waits_for_a_busy_runtime_of_its_tag_is_not_marked(
    timed_provider, clock, eventually
) -> None:
    gate, begun, gpu = asyncio.Event(), list[str](), perdure.Registry()

    @gpu.activity
    async def work() -> str:
        begun.append(perdure.activity_context().instance)
        await gate.wait()
        return "done"

    options = RuntimeOptions(tags=frozenset({"gpu"}), max_concurrent_activities=1)
    client = perdure.Client(timed_provider)
    async with Runtime(timed_provider, registry()), Runtime(timed_provider, gpu, options=options):
        handles = [await client.start_orchestration(name, "flow", '"gpu"') for name in "ab"]
        await eventually(lambda: begun)
        # For several looks, and several leases of the work under way.
        for _ in range(90):
            clock.advance(timedelta(seconds=1))
            for _ in range(20):
                await asyncio.sleep(0)
            assert [await mark_of(handle) for handle in handles] == [None, None]
        gate.set()

        assert [await handle.result(timeout=10) for handle in handles] == ["done", "done"]
    assert sorted(begun) == ["a", "b"]
