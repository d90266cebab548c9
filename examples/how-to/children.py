"""Children: instances of their own, one that fails, and one that goes its own way."""

import asyncio

import perdure

app = perdure.Registry()


@app.orchestration
async def count(ctx: perdure.OrchestrationContext, parent: str) -> int:
    ctx.raise_event(parent, "news", "half way")
    return 2


@app.orchestration
async def listen(ctx: perdure.OrchestrationContext) -> list[object]:
    child = ctx.schedule_sub_orchestration(count, ctx.instance)
    return [await ctx.schedule_wait("news", str), await child]


@app.orchestration
async def ship(ctx: perdure.OrchestrationContext, town: str) -> str:
    if town == "Atlantis":
        raise ValueError("no courier goes there")
    return f"parcel to {town}"


@app.orchestration
async def ship_all(ctx: perdure.OrchestrationContext, towns: list[str]) -> list[str]:
    children = [ctx.schedule_sub_orchestration(ship, town) for town in towns]
    results = await asyncio.gather(*children, return_exceptions=True)
    return [
        result.details.display_message()
        if isinstance(result, perdure.SubOrchestrationFailed)
        else str(result)
        for result in results
    ]


@app.orchestration
async def order(ctx: perdure.OrchestrationContext, town: str) -> str:
    try:
        parcel = await ctx.schedule_sub_orchestration(ship, town, instance=f"parcel-{town}")
    except perdure.SubOrchestrationAlreadyExists:
        return "a parcel is on its way already"
    return ctx.schedule_orchestration(ship, "the archive", instance=f"copy of {parcel}")


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("all-1", ship_all, ["Lisbon", "Atlantis"])
        assert await handle.result(timeout=10) == [
            "parcel to Lisbon",
            "ValueError: no courier goes there",
        ]
        talk = await client.start_orchestration("talk-1", listen)
        assert await talk.result(timeout=10) == ["half way", 2]
        first = await client.start_orchestration("order-1", order, "Lisbon")
        copy = await first.result(timeout=10)
        assert await client.wait_for_orchestration_typed(copy, str, timeout=10)
        second = await client.start_orchestration("order-2", order, "Lisbon")
        assert await second.result(timeout=10) == "a parcel is on its way already"


asyncio.run(main())
