"""Deleting: one instance with its children, old ones in batches, old executions, early events."""

import asyncio
from datetime import UTC, datetime, timedelta

import perdure

app = perdure.Registry()


@app.orchestration
async def ship(ctx: perdure.OrchestrationContext, item: str) -> str:
    return f"{item}, shipped"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    return await ctx.schedule_sub_orchestration(ship, item, instance=f"parcel with {item}")


@app.orchestration
async def count(ctx: perdure.OrchestrationContext, number: int) -> int:
    if number < 5:
        ctx.continue_as_new(number + 1)
    return number


async def delete_one(client: perdure.Client) -> None:
    tree = await client.get_instance_tree("order-1")
    assert [info.instance for info in tree.walk()] == ["order-1", "parcel with lamp"]

    assert await client.delete_instance("order-1") == 2
    assert await client.get_orchestration_status("parcel with lamp") == perdure.NotFound()


async def delete_old(client: perdure.Client, before: datetime) -> None:
    old = perdure.InstanceFilter(status="Completed", updated_before=before)
    assert await client.delete_instances(old, limit=100, dry_run=True) == ["order-2"]
    while deleted := await client.delete_instances(old, limit=100):
        print(len(deleted), "deleted")


async def prune(client: perdure.Client) -> None:
    assert await client.list_executions("counter") == [1, 2, 3, 4, 5]
    assert await client.prune_executions("counter", keep_last=2) == 3
    assert await client.list_executions("counter") == [4, 5]


async def delete_early(client: perdure.Client, before: datetime) -> None:
    await client.raise_event("never", "approval", "true")
    assert await client.delete_early_events(arrived_before=before) == 1


async def main() -> None:
    began = datetime.now(UTC)
    clock = perdure.ManualClock(began)
    async with (
        perdure.open_provider("sqlite:///orders.db", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        for number, item in ((1, "lamp"), (2, "desk")):
            order = await client.start_orchestration(f"order-{number}", deliver, item)
            await order.result(timeout=10)
        await (await client.start_orchestration("counter", count, 1)).result(timeout=10)
        await delete_one(client)
        clock.advance(timedelta(days=31))
        await prune(client)
        await client.delete_instance("counter")
        await delete_old(client, began + timedelta(days=1))
        await delete_early(client, began + timedelta(days=32))


asyncio.run(main())
