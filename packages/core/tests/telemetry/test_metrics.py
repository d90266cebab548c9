"""Metrics: what a runtime does, counted where an exporter reads it."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import perdure
from perdure import telemetry
from perdure.testing import Stage

OPERATE = Path(__file__).parents[4] / "docs" / "operate"


async def test_a_runtime_counts_turns_activities_retries_and_ends(exported):
    app = perdure.Registry()
    tries = []

    @app.activity
    async def flaky() -> None:
        tries.append(None)
        if len(tries) < 3:
            raise ConnectionError

    @app.orchestration
    async def order(ctx: perdure.OrchestrationContext) -> None:
        retry = perdure.RetryPolicy(max_attempts=3, backoff=perdure.Fixed(timedelta(seconds=2)))
        await ctx.schedule_activity(flaky, retry=retry)

    async with Stage(app, plugins=[exported.plugin]) as stage:
        started = await stage.client.start_orchestration("order-1", "order")
        await started.result()

    [turns] = exported.points("perdure.turn.duration")
    assert turns.attributes == {"perdure.orchestration": "order"}
    assert turns.count >= 4
    assert turns.sum > 0
    [commits] = exported.points("perdure.commit.duration")
    assert commits.count == turns.count
    assert commits.sum > 0
    outcomes = {
        point.attributes["perdure.outcome"]: point.count
        for point in exported.points("perdure.activity.duration")
    }
    assert outcomes == {"failed": 2, "completed": 1}
    [retries] = exported.points("perdure.activity.retries")
    assert retries.value == 2
    [waited] = exported.points("perdure.activity.schedule_to_start.duration")
    assert waited.count == 1
    [execution] = exported.points("perdure.execution.duration")
    assert execution.attributes == {
        "perdure.orchestration": "order",
        "perdure.status": "Completed",
    }
    assert execution.sum == 4  # the delays of both retries


async def test_gauges_show_what_waits_and_what_is_held(exported):
    app = perdure.Registry()

    @app.orchestration
    async def wait(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_wait("never", None)

    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("waits", wait)
        exported.plugin.watch_queues(client)
        depths = await asyncio.to_thread(exported.points, "perdure.queue.depth")
        assert {point.attributes["perdure.queue"]: point.value for point in depths} == {
            "orchestrator": 1,
            "worker": 0,
            "timer": 0,
        }
        async with perdure.Runtime(provider, app) as runtime:
            exported.plugin.watch(runtime)
            async for _ in client.watch_instance("waits"):
                if (await client.describe_instance("waits")).waits:
                    break
            live = await asyncio.to_thread(exported.points, "perdure.execution.live")
            assert [point.value for point in live] == [1]


async def test_one_count_of_the_queues_tells_how_much_waits_and_for_how_long(exported, monkeypatch):
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        counts = []
        kind = type(provider.as_management_capability())
        count_queues = kind.count_queues

        async def counted(admin):
            counts.append(admin)
            return await count_queues(admin)

        monkeypatch.setattr(kind, "count_queues", counted)
        client = perdure.Client(provider)
        await client.start_orchestration("waits", "order")
        clock.advance(timedelta(seconds=90))
        exported.plugin.watch_queues(client)

        ages = await asyncio.to_thread(exported.points, "perdure.queue.age")

    assert len(counts) == 1
    assert {point.attributes["perdure.queue"]: point.value for point in ages} == {
        "orchestrator": 90.0,
        "worker": 0.0,
    }


async def test_without_a_plugin_no_event_and_no_wrapper_is_made(monkeypatch):
    """What telemetry costs where it is not used: nothing."""
    made = []
    app = perdure.Registry()

    @app.activity
    async def step() -> None:
        pass

    @app.orchestration
    async def order(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(step)

    for name in ("TurnCommitted", "ExecutionEnded"):
        monkeypatch.setattr(f"perdure.runtime.after_commit.{name}", made.append, raising=True)
    for name in ("ActivityStarted", "ActivityEnded"):
        monkeypatch.setattr(f"perdure.runtime.activity_log.{name}", made.append)
    monkeypatch.setattr("perdure.runtime.activity_call.ActivityCall", made.append)
    async with Stage(app) as stage:
        started = await stage.client.start_orchestration("order-1", "order")
        await started.result()
    assert made == []


def test_the_page_and_the_dashboard_name_the_metrics_that_there_are():
    source = "".join(
        path.read_text("utf-8") for path in Path(telemetry.__file__).parent.glob("*.py")
    )
    made = set(re.findall(r'(?:counter|gauge|histogram|gauge)\(\s*"(perdure\.[a-z_.]+)"', source))
    assert len(made) == 17
    page = (OPERATE / "telemetry.md").read_text("utf-8").partition("## Metrics")[2]
    assert set(re.findall(r"`(perdure\.[a-z_.]+)`", page)) - {"perdure."} == made
    dashboard = json.loads((OPERATE / "grafana-dashboard.json").read_text("utf-8"))
    suffixes = r"_(seconds_bucket|seconds_count|seconds|total)$"
    shown = {
        re.sub(suffixes, "", name)
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"perdure_[a-z_]+(?=[\[)])", target["expr"])
        if name not in ATTRIBUTES
    }
    assert shown <= {name.replace(".", "_") for name in made}
    assert len(shown) == 11


ATTRIBUTES = {
    "perdure_activity",
    "perdure_orchestration",
    "perdure_outcome",
    "perdure_queue",
    "perdure_reason",
    "perdure_status",
    "perdure_storage_kind",
}
