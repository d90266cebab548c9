"""A patch: a step that is added for executions that have not come to it yet."""

import asyncio

import perdure
import perdure.history
from perdure.testing import Stage


def deployment(*, patched: bool) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def charge(cents: int) -> str:
        return f"charged {cents}"

    @app.activity
    async def check(cents: int) -> None: ...

    async def pay_before(ctx: perdure.OrchestrationContext, cents: int) -> str:
        await ctx.schedule_wait("approved")
        receipt = await ctx.schedule_activity(charge, cents)
        await ctx.schedule_wait("shipped")
        return receipt

    async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
        await ctx.schedule_wait("approved")
        if ctx.patched("add-check"):
            await ctx.schedule_activity(check, cents)
        receipt = await ctx.schedule_activity(charge, cents)
        await ctx.schedule_wait("shipped")
        return receipt

    app.orchestration(name="pay")(pay if patched else pay_before)
    return app


async def main() -> None:
    async with Stage(deployment(patched=False)) as stage:
        early = await stage.client.start_orchestration("early", "pay", "500")
        late = await stage.client.start_orchestration("late", "pay", "700")
        await early.raise_event("approved")
        await stage.settle()

        await stage.restart(deployment(patched=True))
        await late.raise_event("approved")
        for handle in (early, late):
            await handle.raise_event("shipped")
            await handle.result()

        assert "check" not in await steps(stage, "early")
        assert "check" in await steps(stage, "late")


async def steps(stage: Stage, instance: str) -> list[str]:
    events = await stage.history(instance)
    return [event.name for event in events if isinstance(event, perdure.history.ActivityScheduled)]


asyncio.run(main())
