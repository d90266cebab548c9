"""What a type checker makes of the client's calls: right ones, and lines that must be refused.

The lines that end in `# refused` must be reported, and no other.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_type

from perdure import (
    BlockingClient,
    BlockingHandle,
    Client,
    EventArrival,
    Handle,
    InstanceDescription,
    InstanceFilter,
    InstanceInfo,
    OrchestrationContext,
    Page,
    Registry,
    RetriedInstances,
)

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


async def options(client: Client, moment: datetime) -> None:
    labels = {"tenant": "acme"}
    assert_type(await client.start_orchestration("i", greet, labels=labels), Handle[str])
    assert_type(await client.start("i", pay, start_at=moment)(Order(1), note=""), Handle[Receipt])
    assert_type(
        await client.start_orchestration_versioned("i", greet, "1.0.0", delay=5, headers=labels),
        Handle[str],
    )
    assert_type(await client.start_orchestration("i", "p", if_exists="return"), Handle[object])
    assert_type(client.get_handle("i", process), Handle[Receipt])
    assert_type(client.get_handle("i"), Handle[object])
    _ = await client.start_orchestration("i", greet, if_exists="ignore")  # refused
    _ = await client.start_orchestration("i", greet, lables=labels)  # refused
    _ = await client.start("i", greet, labels={"attempts": 7})()  # refused
    _ = await client.start_orchestration_typed("i", greet, start_at="soon")  # refused


async def recovery(client: Client) -> None:
    assert_type(await client.retry_instance("i", reason="repaired"), int)
    assert_type(await client.rewind_instance("i", to_event=7), int)
    assert_type(await client.fork_instance("i", "j"), Handle[object])
    assert_type(await client.terminate_instance("i"), bool)
    assert_type(await client.retry_instances(limit=10), RetriedInstances)
    _ = await client.rewind_instance("i", 7)  # refused
    _ = await client.rewind_instance("i", to_event="7")  # refused
    _ = await client.retry_instances({"status": "Failed"}, limit=1)  # refused


async def looking(client: Client) -> None:
    page = await client.list_instances(InstanceFilter(status="Failed", labels={"a": "b"}))
    assert_type(page, Page[InstanceInfo])
    assert_type(await client.describe_instance("i"), InstanceDescription)
    assert_type(await client.get_value("i", "done", int), int | None)
    assert_type(await client.wait_for_value("i", "names", list[str], 1), list[str])
    assert_type(await client.get_values("i"), dict[str, str])
    async for info in client.watch_instance("i"):
        assert_type(info, InstanceInfo)
    assert_type(await client.raise_event_typed("i", "go", Order(1)), EventArrival)
    assert_type(await client.delete_instances(limit=3), list[str])
    _ = await client.list_instances("Failed")  # refused
    _ = await client.get_value("i", "done")  # refused
    _ = await client.delete_instance("i", True)  # refused
    await client.delete_namespace()  # refused
    _ = InstanceFilter(state="Failed")  # refused


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
    assert_type(client.start("i", pay, delay=5)(Order(1), note=""), BlockingHandle[Receipt])
    assert_type(client.get_handle("i", process), BlockingHandle[Receipt])
    assert_type(client.fork_instance("i", "j", to_event=3), BlockingHandle[object])
    assert_type(client.retry_instance("i"), int)
    assert_type(client.list_all_instances(page_size=1), Page[str])
    _ = client.rewind_instance("i")  # refused
    assert_type(client.wait_for_value("i", "names", list[str]), list[str])
    assert_type(client.get_value("i", "names", int), int | None)
    for info in client.watch_instance("i"):
        assert_type(info, InstanceInfo)
        info.name = "other"  # refused
    _ = client.start_orchestration("i", greet, lables={})  # refused
    client.raise_event("i", "go", {"a": 1})  # refused


async def covariance(handle: Handle[Receipt]) -> Handle[object]:
    return handle
