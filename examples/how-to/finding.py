"""Finding instances by what they are, describing one of them, and following its changes."""

import asyncio

import perdure

app = perdure.Registry()


@app.activity
async def check(order: str) -> None: ...


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, order: str) -> str:
    await ctx.schedule_activity(check, order)
    approved = await ctx.schedule_wait("approval", bool)
    return "sent" if approved else "put back"


async def list_them(client: perdure.Client) -> list[str]:
    found: list[str] = []
    waiting = perdure.InstanceFilter(status="Running", labels={"tenant": "acme"})
    token: str | None = None
    while True:
        page = await client.list_instances(waiting, limit=100, token=token)
        for info in page:
            found.append(f"{info.instance}: {info.orchestration_name}, {info.labels}")
        token = page.next_token
        if token is None:
            return found


async def describe(client: perdure.Client) -> None:
    description = await client.describe_instance("of-acme")
    assert description.doing.startswith("waits for event 'approval' since ")


async def follow(client: perdure.Client, instance: str) -> list[str]:
    seen: list[str] = []
    async for info in client.watch_instance(instance):
        seen.append(info.status.value)
    return seen


async def main() -> None:
    async with (
        perdure.open_provider("sqlite:///orders.db") as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        for tenant in ("acme", "other"):
            labels = {"tenant": tenant}
            await client.start_orchestration(f"of-{tenant}", deliver, tenant, labels=labels)
        assert await list_them(client) == ["of-acme: deliver, {'tenant': 'acme'}"]
        following = asyncio.create_task(follow(client, "of-acme"))
        while not (await client.describe_instance("of-acme")).waits:
            await asyncio.sleep(0.01)
        await describe(client)
        await client.raise_event_typed("of-acme", "approval", True)
        assert (await following)[-1] == "Completed"


asyncio.run(main())
