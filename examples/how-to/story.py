"""The order of the page "How it survives", with the crash between its two steps."""

import asyncio
from datetime import timedelta

import perdure

app = perdure.Registry()
packed: list[str] = []


@app.activity
async def pack(item: str) -> str:
    packed.append(item)
    return f"{item}, packed"


@app.activity
async def send(parcel: str) -> str:
    return f"sent: {parcel}"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    parcel = await ctx.schedule_activity(pack, item)
    await asyncio.sleep(5)
    return await ctx.schedule_activity(send, parcel)


async def main() -> None:
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        client = perdure.Client(provider)
        handle = await client.start_orchestration("order-1", deliver, "lamp")
        async with perdure.Runtime(provider, app):
            while (await client.get_execution_info("order-1", 1)).event_count < 4:
                await asyncio.sleep(0.001)

        history = await client.read_execution_history("order-1", 1)
        assert [event.kind for event in history] == [
            "OrchestrationStarted",
            "ActivityScheduled",
            "ActivityCompleted",
            "TimerCreated",
        ]

        async with perdure.Runtime(provider, app):  # another worker
            clock.advance(timedelta(seconds=5))
            assert await handle.result() == "sent: lamp, packed"
        assert packed == ["lamp"]


asyncio.run(main())
