"""Retention: a runtime deletes ended instances that are too old, a few at a time, and counts them."""

from __future__ import annotations

from datetime import timedelta

import perdure
import pytest
from perdure import InvalidInput, OrchestrationContext, Retention, RuntimeOptions
from perdure.contract import DelegatingProvider
from perdure.errors import CapabilityMissing
from perdure.observe import InstancesDeleted, RuntimeEvent
from perdure.testing import Stage

DAY = timedelta(days=1)
app = perdure.Registry()


@app.orchestration
async def child(ctx: OrchestrationContext) -> None:
    """Has nothing to do."""


@app.orchestration
async def ends(ctx: OrchestrationContext, fails: bool = False) -> None:  # its input
    await ctx.schedule_sub_orchestration(child, instance=f"{ctx.instance}-child")
    if fails:
        raise ValueError("no")


@app.orchestration
async def waits(ctx: OrchestrationContext) -> None:
    await ctx.schedule_wait("go")


class Plugin:
    """Collects deletions."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        if isinstance(event, InstancesDeleted):
            self.deleted.extend(event.instances)


async def ids(stage: Stage) -> list[str]:
    page = await stage.client.list_instances()
    return sorted(info.instance for info in page)


async def test_ended_instances_are_deleted_with_their_children_when_they_are_too_old(
    url: str,
) -> None:
    plugin = Plugin()
    options = RuntimeOptions(retention=Retention(completed=DAY, failed=10 * DAY))
    async with Stage(app, options=options, plugins=[plugin], url=url) as stage:
        client = stage.client
        await client.start_orchestration("done", "ends")
        await client.start_orchestration("failed", "ends", "true")
        await client.start_orchestration("open", "waits")
        await stage.settle()
        everything = ["done", "done-child", "failed", "failed-child", "open"]
        assert await ids(stage) == everything

        await stage.advance(DAY - timedelta(minutes=10))
        assert await ids(stage) == everything
        for _ in range(20):
            await stage.advance(timedelta(minutes=1))
        assert await ids(stage) == ["failed", "failed-child", "open"]
        await stage.advance(10 * DAY)
        for _ in range(20):
            await stage.advance(timedelta(minutes=1))
        assert await ids(stage) == ["open"]
        assert plugin.deleted == ["done", "failed"]


async def test_a_backlog_is_deleted_a_few_at_a_time_in_looks_that_follow_soon(url: str) -> None:
    plugin = Plugin()
    options = RuntimeOptions(retention=Retention(completed=timedelta(hours=1), at_once=3))
    async with Stage(app, options=options, plugins=[plugin], url=url) as stage:
        for number in range(10):
            await stage.client.start_orchestration(f"i{number}", "child")
        await stage.settle()
        await stage.advance(timedelta(hours=1))
        for _ in range(20):
            await stage.advance(timedelta(minutes=1))

        assert await ids(stage) == []
        assert len(plugin.deleted) == 10


def test_a_retention_says_what_it_deletes() -> None:
    with pytest.raises(InvalidInput, match="deletes nothing"):
        Retention()
    with pytest.raises(InvalidInput, match="retention"):
        RuntimeOptions(retention=DAY)  # type: ignore[arg-type]


async def test_a_provider_that_cannot_delete_is_told_when_the_runtime_is_made(
    provider: DelegatingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "capabilities", frozenset[str]())

    with pytest.raises(CapabilityMissing, match="a retention"):
        perdure.Runtime(provider, app, options=RuntimeOptions(retention=Retention(completed=DAY)))
