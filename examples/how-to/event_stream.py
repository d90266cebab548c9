"""Many events of one name: a stream of them, a look for one, and one orchestration that raises them."""

import asyncio
from dataclasses import dataclass

import perdure

app = perdure.Registry()


@dataclass
class Change:
    action: str
    item: str = ""


@app.orchestration
async def cart(ctx: perdure.OrchestrationContext) -> list[str]:
    items: list[str] = []
    async for change in ctx.events("change", Change):
        if change.action == "order":
            break
        items.append(change.item)
    return items


@app.orchestration
async def fill(ctx: perdure.OrchestrationContext, other: str) -> None:
    for item in ("lamp", "desk"):
        ctx.raise_event(other, "change", Change(action="add", item=item))
    ctx.raise_event(other, "change", Change(action="order"))


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("cart-1", cart)
        await client.start_orchestration("fill-1", fill, "cart-1")
        assert await handle.result(timeout=10) == ["lamp", "desk"]


asyncio.run(main())
