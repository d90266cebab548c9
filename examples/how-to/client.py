"""The client: starting, events, cancellation, waiting, and looking at what is stored."""

import asyncio
from dataclasses import dataclass

import perdure

app = perdure.Registry()


@dataclass
class Order:
    item: str
    count: int


@app.orchestration
async def place(ctx: perdure.OrchestrationContext, order: Order) -> int:
    return order.count


@app.orchestration
async def price(ctx: perdure.OrchestrationContext, item: str, *, count: int = 1) -> int:
    return len(item) * count


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext) -> str:
    first = await ctx.schedule_wait("approval", str)
    second = await ctx.schedule_wait("approval", str)
    return f"{first} and {second}"


@app.orchestration
async def count(ctx: perdure.OrchestrationContext, number: int) -> int:
    if number < 3:
        ctx.continue_as_new(number + 1)
    return number


async def start(client: perdure.Client) -> None:
    # The function: a type checker sees the argument, and that the result is an int.
    typed = await client.start_orchestration("a", place, Order(item="cup", count=2))
    assert await typed.result() == 2

    # Several parameters: the function's own arguments.
    several = await client.start("e", price)("cup", count=5)
    assert await several.result() == 15

    # The name: the input is JSON text; or a value, with the typed method.
    await client.start_orchestration("b", "place", '{"item": "cup", "count": 3}')
    await client.start_orchestration_typed("c", "place", {"item": "cup", "count": 4})
    assert await client.wait_for_orchestration_typed("c", int) == 4

    try:
        await client.start_orchestration("d", "place", "cup")
    except perdure.InvalidPayload as error:
        print(error)
    try:
        await client.start_orchestration("a", place, Order(item="cup", count=2))
    except perdure.InstanceAlreadyExists as error:
        print(error.instance, "is in use")


async def steer(client: perdure.Client) -> None:
    await client.raise_event("request", "approval", '"Ada"')  # before the start: kept
    handle = await client.start_orchestration("request", approve)
    await handle.raise_event("approval", '"Alan"', event_id="alan-1")
    await handle.raise_event("approval", '"Alan"', event_id="alan-1")  # counts once
    assert await handle.result(10) == "Ada and Alan"

    other = await client.start_orchestration("other", approve)
    await other.cancel("not needed any more")
    match await other.wait(10):
        case perdure.Failed(details=details):
            assert details.display_message() == "canceled: not needed any more"
        case perdure.Completed():
            raise AssertionError("it was cancelled")


async def wait(client: perdure.Client) -> None:
    assert await client.get_orchestration_status("i") == perdure.NotFound()
    await client.start_orchestration("i", approve)
    match await client.get_orchestration_status("i"):
        case perdure.Running(parked=None):
            pass
        case other:
            raise AssertionError(other)
    try:
        await client.wait_for_orchestration("i", timeout=0.05)
    except TimeoutError as error:
        print(error)


async def look(client: perdure.Client) -> None:
    handle = await client.start_orchestration("counter", count, 1)
    assert await handle.result(10) == 3

    assert client.has_management_capability()
    assert "counter" in await client.list_instances_by_status("Completed")
    assert await client.list_executions("counter") == [1, 2, 3]
    info = await client.get_instance_info("counter")
    assert (info.status, info.output, info.execution) == ("Completed", "3", 3)
    history = await client.read_execution_history("counter", 3)
    assert [event.kind for event in history] == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert (await client.get_system_metrics()).running_instances == 1


async def every_instance(client: perdure.Client) -> list[str]:
    found: list[str] = []
    page = await client.list_all_instances(page_size=100)
    while True:
        found += page
        if page.next_token is None:
            return found
        page = await client.list_all_instances(page_size=100, token=page.next_token)


def from_a_script() -> None:
    with perdure.BlockingClient.open("memory://") as client:
        handle = client.start_orchestration("order-1", "order", '"cup"')
        assert handle.status() == perdure.Running()
        assert list(client.list_all_instances()) == ["order-1"]


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        await start(client)
        await steer(client)
        await wait(client)
        await look(client)
        assert len(await every_instance(client)) == 8
    await asyncio.to_thread(from_a_script)


asyncio.run(main())
