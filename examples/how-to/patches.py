"""A patch: a step that is added for executions that have not come to it yet."""

import asyncio

import perdure
import perdure.history


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
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        early = await client.start_orchestration("early", "pay", "500")
        late = await client.start_orchestration("late", "pay", "700")
        await early.raise_event("approved")
        async with perdure.Runtime(provider, deployment(patched=False)):
            while await length(client, "early") < 6 or await length(client, "late") < 2:
                await asyncio.sleep(0.001)

        async with perdure.Runtime(provider, deployment(patched=True)):
            await late.raise_event("approved")
            for handle in (early, late):
                await handle.raise_event("shipped")
                await handle.result(timeout=10)

        assert "check" not in await steps(client, "early")
        assert "check" in await steps(client, "late")


async def length(client: perdure.Client, instance: str) -> int:
    return (await client.get_execution_info(instance, 1)).event_count


async def steps(client: perdure.Client, instance: str) -> list[str]:
    events = await client.read_execution_history(instance, 1)
    return [event.name for event in events if isinstance(event, perdure.history.ActivityScheduled)]


asyncio.run(main())
