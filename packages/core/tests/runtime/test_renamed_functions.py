"""Functions that were renamed: instances and queued work go on under the former name."""

from __future__ import annotations

import perdure
import pytest
from perdure import OrchestrationContext, Registry, RetryPolicy
from perdure.history import ActivityScheduled, ChildScheduled
from perdure.testing import Stage, check_history


def before() -> Registry:
    app = Registry()

    @app.activity
    async def charge_v0(cents: int) -> str:
        raise AssertionError("no runtime of this deployment runs activities")

    @app.orchestration
    async def ship_v0(ctx: OrchestrationContext, cents: int) -> str:
        return await ctx.schedule_wait("shipped", str)

    @app.orchestration
    async def pay_v0(ctx: OrchestrationContext, cents: int) -> list[str]:
        child = ctx.schedule_sub_orchestration(ship_v0, cents)
        return [await ctx.schedule_activity(charge_v0, cents), await child]

    return app


def after() -> Registry:
    app = Registry()

    @app.activity(aliases=("charge_v0",))
    async def charge(cents: int) -> str:
        return f"charged {cents}"

    @app.orchestration(aliases=("ship_v0",))
    async def ship(ctx: OrchestrationContext, cents: int) -> str:
        return await ctx.schedule_wait("shipped", str)

    @app.orchestration(aliases=("pay_v0",))
    async def pay(ctx: OrchestrationContext, cents: int) -> list[str]:
        child = ctx.schedule_sub_orchestration(ship, cents)
        return [await ctx.schedule_activity(charge, cents), await child]

    return app


async def test_an_instance_and_its_queued_activity_and_child_go_on_under_their_former_names() -> (
    None
):
    elsewhere = perdure.RuntimeOptions(tags=frozenset({"elsewhere"}))
    async with Stage(before(), options=elsewhere) as stage:
        handle = await stage.client.start_orchestration("pay-1", "pay_v0", "500")
        await stage.settle()
        await stage.restart(after(), options=perdure.RuntimeOptions())
        await stage.client.raise_event("pay-1::1.2", "shipped", '"by sea"')
        assert await handle.result() == ["charged 500", "by sea"]
        document = await stage.client.export_history("pay-1")

    asked = [
        event.name
        for event in document.executions[0].events
        if isinstance(event, ActivityScheduled | ChildScheduled)
    ]
    assert asked == ["ship_v0", "charge_v0"], "what is stored stays as it is"
    assert check_history(document, after(), strict=True).agrees
    assert not check_history(document, Registry()).executions[0].waiting


@pytest.mark.parametrize("name", ["charge", "charge_v0"])
async def test_a_call_by_either_name_asks_for_the_present_one(name: str) -> None:
    app = after()

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(name, 5, result_type=str)

    async with Stage(app) as stage:
        assert await stage.run(flow) == "charged 5"
        events = await stage.history("flow-1")

    (asked,) = [event for event in events if isinstance(event, ActivityScheduled)]
    assert asked.name == "charge"


async def test_a_call_gets_the_defaults_of_the_definition_and_may_say_otherwise() -> None:
    app = Registry()
    policy, other = RetryPolicy(max_attempts=3), RetryPolicy(max_attempts=2)

    @app.activity(retry=policy, tag="gpu")
    async def render(page: int) -> None: ...

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity(render, 1)
        ctx.schedule_activity("render", 2)
        ctx.activity(render)(3)
        ctx.schedule_activity(render, 4, retry=other, tag="cpu")
        ctx.schedule_activity(render, 5, retry=None, tag=None)
        await ctx.schedule_wait("done")

    async with Stage(app) as stage:
        handle = await stage.start(flow)
        await stage.settle()
        events = await stage.history(handle.instance)

    asked = [event for event in events if isinstance(event, ActivityScheduled)]
    assert [event.tag for event in asked] == ["gpu", "gpu", "gpu", "cpu", None]
    attempts = [
        None if event.retry is None else event.retry.count('"max_attempts":3') for event in asked
    ]
    assert attempts == [1, 1, 1, 0, None]
