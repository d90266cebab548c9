"""Starting: ids that are in use, starts that begin later, labels, and headers that travel along."""

import asyncio
from datetime import UTC, datetime, timedelta

import perdure

app = perdure.Registry()


@app.activity
async def sign() -> str:
    return f"signed for {perdure.activity_context().headers['asked-by']}"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    return item


@app.orchestration
async def who_asked(ctx: perdure.OrchestrationContext) -> str:
    signature = await ctx.schedule_activity(sign)
    return f"{ctx.headers['asked-by']} asked, {signature}"


async def twice(client: perdure.Client) -> None:
    # A request that may come twice: one order, and a handle of it for both.
    first = await client.start_orchestration("order-1", deliver, "lamp", if_exists="return")
    second = await client.start_orchestration("order-1", deliver, "lamp", if_exists="return")
    assert await first.result(timeout=10) == await second.result(timeout=10) == "lamp"

    new = await client.start_orchestration("order-1", deliver, "desk", if_exists="replace_ended")
    assert await new.result(timeout=10) == "desk"


async def later(client: perdure.Client, clock: perdure.ManualClock) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await client.start_orchestration("order-2", deliver, "desk", start_at=tomorrow)
    await client.start_orchestration("order-3", deliver, "chair", delay=timedelta(hours=2))
    clock.advance(timedelta(hours=2))
    assert await client.wait_for_orchestration_typed("order-3", str, 10) == "chair"
    assert await client.get_orchestration_status("order-2") == perdure.Running()
    clock.advance(timedelta(days=1))
    assert await client.get_handle("order-2", deliver).result(timeout=10) == "desk"


async def labelled(client: perdure.Client) -> None:
    labels = {"tenant": "acme", "shop": "north"}
    await client.start_orchestration("order-4", deliver, "lamp", labels=labels)
    assert (await client.get_instance_info("order-4")).labels == labels


async def asked(client: perdure.Client) -> None:
    headers = {"traceparent": "00-4bf92f35", "asked-by": "Ines"}
    handle = await client.start_orchestration("order-5", who_asked, headers=headers)
    assert await handle.result(timeout=10) == "Ines asked, signed for Ines"


async def main() -> None:
    clock = perdure.ManualClock(datetime.now(UTC))
    async with (
        perdure.open_provider("sqlite:///orders.db", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        await twice(client)
        await later(client, clock)
        await labelled(client)
        await asked(client)


asyncio.run(main())
