"""An orchestration that takes the first of two answers: the order that matters is found."""

import asyncio

import perdure
from perdure.testing import explore

app = perdure.Registry()


@app.activity
async def ask(shop: str) -> str:
    return f"offer of {shop}"


@app.orchestration
async def choose(ctx: perdure.OrchestrationContext) -> str:
    offers: list[str] = []

    async def collect(shop: str) -> None:
        offers.append(await ctx.schedule_activity(ask, shop))

    await asyncio.gather(collect("Ada"), collect("Grace"))
    return offers[0]


async def main() -> None:
    found = await explore(app, choose)
    print(found)


asyncio.run(main())
