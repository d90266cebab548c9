"""The order that the pages "Coming from" show beside other systems."""

import asyncio
from datetime import timedelta

import perdure

app = perdure.Registry()


@app.activity
async def charge(order: str) -> str:
    return f"receipt for {order}"


@app.activity
async def ship(order: str) -> None: ...


@app.orchestration
async def process(ctx: perdure.OrchestrationContext, order: str) -> str:
    retry = perdure.RetryPolicy(max_attempts=5, attempt_timeout=timedelta(seconds=30))
    receipt = await ctx.schedule_activity(charge, order, retry=retry)
    try:
        async with asyncio.timeout(24 * 3600):
            await ctx.schedule_wait("approved")
    except TimeoutError:
        return "not approved in time"
    await ctx.schedule_activity(ship, order, retry=retry)
    return receipt


async def main() -> None:
    async with perdure.open_provider("sqlite:///orders.db") as provider:
        async with perdure.Runtime(provider, app):
            client = perdure.Client(provider)
            handle = await client.start_orchestration("order-1", process, "lamp")
            await client.raise_event("order-1", "approved")
            assert await handle.result(timeout=30) == "receipt for lamp"


asyncio.run(main())
