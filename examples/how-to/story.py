"""The order of the page "How it survives", with the crash between its two steps."""

import asyncio

import perdure
from perdure.testing import Stage

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
    async with Stage(app) as stage:
        handle = await stage.client.start_orchestration("order-1", deliver, "lamp")
        await stage.settle()

        history = await stage.history("order-1")
        assert [event.kind for event in history] == [
            "OrchestrationStarted",
            "ActivityScheduled",
            "ActivityCompleted",
            "TimerCreated",
        ]

        await stage.crash()  # another worker goes on
        assert await handle.result() == "sent: lamp, packed"
        assert packed == ["lamp"]


asyncio.run(main())
