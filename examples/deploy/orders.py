"""The work that the deployment guides deploy: an order is packed, approved and sent."""

from __future__ import annotations

import perdure

app = perdure.Registry()


@app.activity
async def pack(item: str) -> str:
    return f"{item}, packed"


@app.activity
async def send(parcel: str) -> str:
    return f"sent: {parcel}"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    parcel = await ctx.schedule_activity(pack, item)
    if not await ctx.schedule_wait("approval", bool):
        return f"put back: {item}"
    return await ctx.schedule_activity(send, parcel)
