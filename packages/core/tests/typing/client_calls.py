"""What a type checker makes of the client's calls: right ones, and lines that must be refused.

The lines that end in `# refused` must be reported, and no other.
"""

from dataclasses import dataclass
from typing import assert_type

from perdure import BlockingClient, BlockingHandle, Client, Handle, OrchestrationContext, Registry

app = Registry()


@dataclass
class Order:
    number: int


@dataclass
class Receipt:
    total: float


@app.orchestration
async def process(ctx: OrchestrationContext, order: Order) -> Receipt:
    return Receipt(total=order.number)


@app.orchestration(version="2.0.0")
async def greet(ctx: OrchestrationContext) -> str:
    return "hello"


@app.orchestration
async def pay(ctx: OrchestrationContext, order: Order, cents: int = 500, *, note: str) -> Receipt:
    return Receipt(total=cents)


async def functions(client: Client) -> None:
    handle = await client.start_orchestration("i", process, Order(number=1))
    assert_type(handle, Handle[Receipt])
    assert_type(await handle.result(), Receipt)
    assert_type(await client.start_orchestration("i", greet), Handle[str])
    assert_type(await client.start_orchestration("i", greet, version="1.0.0"), Handle[str])
    assert_type(
        await client.start_orchestration("i", process, Order(number=1), version="1.0.0"),
        Handle[Receipt],
    )
    assert_type(await client.start_orchestration_versioned("i", greet, "1.0.0"), Handle[str])
    assert_type(await client.start_orchestration_typed("i", process, Order(1)), Handle[Receipt])
    assert_type(
        await client.start_orchestration_versioned_typed("i", process, "1.0.0", Order(1)),
        Handle[Receipt],
    )


async def calls(client: Client) -> None:
    assert_type(await client.start("i", pay)(Order(1), 7, note=""), Handle[Receipt])
    assert_type(await client.start("i", pay)(Order(1), note=""), Handle[Receipt])
    assert_type(
        await client.start("i", pay, version="1.0.0")(order=Order(1), note=""), Handle[Receipt]
    )
    assert_type(await client.start("i", process)(Order(1)), Handle[Receipt])
    assert_type(await client.start("i", greet)(), Handle[str])


async def names(client: Client) -> None:
    assert_type(await client.start_orchestration("i", "process", "{}"), Handle[object])
    assert_type(await client.start_orchestration("i", "process", version="1.0.0"), Handle[object])
    assert_type(await client.start_orchestration_versioned("i", "p", "1.0.0", "{}"), Handle[object])
    assert_type(await client.start_orchestration_typed("i", "process", Order(1)), Handle[object])
    assert_type(await client.wait_for_orchestration_typed("i", Receipt, 1), Receipt)
    assert_type(await client.wait_for_orchestration_typed("i", list[int], 1), list[int])
    assert_type(await client.wait_for_orchestration_typed("i", int | None, 1), int | None)
    assert_type(
        await client.wait_for_orchestration_typed("i", result_type=Receipt | Order), Receipt | Order
    )


async def misuse(client: Client) -> None:
    _ = await client.start_orchestration("i", process, "text")  # refused
    _ = await client.start_orchestration("i", process, 1)  # refused
    _ = await client.start_orchestration("i", process)  # refused
    _ = await client.start_orchestration("i", process, None)  # refused
    _ = await client.start_orchestration("i", greet, 1)  # refused
    _ = await client.start_orchestration("i", "process", Order(1))  # refused
    _ = await client.start_orchestration("i", "process", "{}", "1.0.0")  # refused
    _ = await client.start_orchestration("i", Order, 1)  # refused
    _ = await client.start_orchestration("i", pay, Order(1))  # refused
    _ = await client.start_orchestration_versioned("i", greet)  # refused
    _ = await client.start_orchestration_versioned("i", greet, None)  # refused
    _ = await client.start("i", pay)(Order(1))  # refused
    _ = await client.start("i", pay)("an order", note="")  # refused
    _ = await client.start("i", pay)(Order(1), cents="7", note="")  # refused
    _ = await client.start("i", pay)(Order(1), note="", pence=7)  # refused
    _ = await client.start("i", greet)(1)  # refused
    _ = await client.start("i", "pay")(Order(1))  # refused
    await client.raise_event("i", "go", {"a": 1})  # refused
    _ = await client.wait_for_orchestration("i", "soon")  # refused
    _ = await client.wait_for_orchestration_typed("i", 7)  # refused
    _ = await client.list_all_instances(page_size="ten")  # refused


def blocking(client: BlockingClient) -> None:
    handle = client.start_orchestration("i", process, Order(number=1))
    assert_type(handle, BlockingHandle[Receipt])
    assert_type(handle.result(), Receipt)
    assert_type(client.start_orchestration("i", greet), BlockingHandle[str])
    assert_type(client.start_orchestration("i", "greet"), BlockingHandle[object])
    assert_type(client.start_orchestration_versioned("i", greet, "1.0.0"), BlockingHandle[str])
    assert_type(client.start("i", pay)(Order(1), note=""), BlockingHandle[Receipt])
    assert_type(client.wait_for_orchestration_typed("i", Receipt, 1), Receipt)
    assert_type(client.wait_for_orchestration_typed("i", Receipt | None), Receipt | None)
    _ = client.start_orchestration("i", process, "text")  # refused
    _ = client.start("i", pay)(Order(1), note=7)  # refused


async def covariance(handle: Handle[Receipt]) -> Handle[object]:
    return handle
