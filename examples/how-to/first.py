"""A first orchestration: two activities side by side, and their results put together."""

import asyncio

import perdure

app = perdure.Registry()


@app.activity
async def fetch_price(item: str) -> int:
    return {"lamp": 4_900, "desk": 21_900}[item]


@app.orchestration
async def quote(ctx: perdure.OrchestrationContext, items: list[str]) -> int:
    prices = await asyncio.gather(*(ctx.schedule_activity(fetch_price, item) for item in items))
    return sum(prices)


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("quote-1", quote, ["lamp", "desk"])
        print("total:", await handle.result(timeout=10))
        for event in await client.read_execution_history("quote-1", 1):
            print(event.event_id, event.kind)


asyncio.run(main())
