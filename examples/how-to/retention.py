"""Retention: a runtime deletes ended instances that are older than it keeps them."""

import asyncio
from datetime import timedelta

import perdure

app = perdure.Registry()


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    return f"{item}, sent"


KEPT = perdure.Retention(completed=timedelta(days=30), failed=timedelta(days=90))


async def main() -> None:
    clock = perdure.ManualClock()
    options = perdure.RuntimeOptions(retention=KEPT)
    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, app, options=options) as runtime,
    ):
        client = perdure.Client(provider)
        order = await client.start_orchestration("order-1", deliver, "lamp")
        assert await order.result(timeout=10) == "lamp, sent"

        clock.advance(timedelta(days=31))
        while await order.status() != perdure.NotFound():
            clock.advance(1)
            await asyncio.sleep(0.001)
        assert runtime.statistics.instances_deleted == 1


asyncio.run(main())
