import asyncio

import perdure

app = perdure.Registry()


@app.activity
async def pack(item: str) -> str:
    print(f"packing the {item}", flush=True)
    return f"{item}, packed"


@app.activity
async def send(parcel: list[str]) -> str:
    print(f"sending a parcel of {len(parcel)}", flush=True)
    return f"sent: {', '.join(parcel)}"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, items: list[str]) -> str:
    parcel = await asyncio.gather(*(ctx.schedule_activity(pack, item) for item in items))
    await asyncio.sleep(5)  # a durable timer: kill the worker now
    return await ctx.schedule_activity(send, parcel)
