"""What a type checker makes of the context's calls: right ones, and lines that must be refused.

The lines that end in `# refused` must be reported, and no other.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from perdure import OrchestrationContext, Registry, RetryPolicy

app = Registry()


@dataclass
class Order:
    number: int


@dataclass
class Receipt:
    total: float


@app.activity
async def charge(order: Order) -> Receipt:
    return Receipt(total=order.number)


@app.activity
async def ping() -> str:
    return "pong"


@app.activity
def weigh(order: Order) -> float:
    return 1.0


@app.activity(name="the time of day")
def noon() -> int:
    return 12


@app.activity
async def pay(order: Order, cents: int = 500, *, note: str) -> Receipt:
    return Receipt(total=cents)


@app.activity
def pack(order: Order, boxes: int) -> list[str]:
    return [""] * boxes


class Mailer:
    async def send(self, to: str, text: str = "") -> bool:
        return True


mailer = Mailer()
app.register_activity(mailer.send, name="send")


@app.orchestration
async def remind(ctx: OrchestrationContext, customer: str, *, days: int = 3) -> str:
    return customer


@app.orchestration
async def ship(ctx: OrchestrationContext, order: Order) -> str:
    return "shipped"


@app.orchestration(version="2.0.0")
async def close(ctx: OrchestrationContext) -> bool:
    return True


@app.orchestration
async def process(ctx: OrchestrationContext, order: Order) -> Receipt:
    retry = RetryPolicy(max_attempts=5)
    receipt = await ctx.schedule_activity(charge, order, retry=retry, tag="cards")
    assert_type(receipt, Receipt)
    assert_type(await ctx.schedule_activity(ping), str)
    assert_type(await ctx.schedule_activity(ping, retry=retry), str)
    assert_type(await ctx.schedule_activity(weigh, order), float)
    assert_type(await ctx.schedule_activity(noon), int)
    assert_type(await ctx.schedule_activity("charge", order, result_type=Receipt), Receipt)
    assert_type(await ctx.schedule_wait("approval", Receipt), Receipt)
    assert_type(await ctx.schedule_wait("approval", Receipt | Order), Receipt | Order)
    assert_type(
        await ctx.schedule_wait("approval", Receipt | None, on_invalid="raise"), Receipt | None
    )
    assert_type(await ctx.schedule_wait("approval", result_type=list[Order]), list[Order])
    assert_type(await ctx.schedule_activity("charge", order, result_type=int | str), int | str)
    assert_type(ctx.schedule_timer(timedelta(days=30)), asyncio.Future[None])
    assert_type(await ctx.schedule_sub_orchestration(ship, order, instance="s"), str)
    assert_type(await ctx.schedule_sub_orchestration(close), bool)
    assert_type(await ctx.schedule_sub_orchestration("ship", order, result_type=str), str)
    assert_type(ctx.schedule_orchestration(ship, order), str)
    assert_type(
        await ctx.schedule_sub_orchestration("ship", order, result_type=str | None), str | None
    )
    assert_type(await ctx.activity(pay, retry=retry)(order, note=""), Receipt)
    assert_type(await ctx.activity(pay, tag="cards")(order, cents=7, note=""), Receipt)
    assert_type(await ctx.activity(pack, cancellation="wait")(order, 2), list[str])
    assert_type(await ctx.activity(mailer.send)("ada", text="hello"), bool)
    assert_type(await ctx.activity(charge)(order), Receipt)
    assert_type(await ctx.activity(ping)(), str)
    assert_type(await ctx.sub_orchestration(remind, instance="r")("ada", days=1), str)
    assert_type(await ctx.sub_orchestration(close, version="2.0.0")(), bool)
    assert_type(ctx.orchestration(remind)("ada"), str)
    assert_type(await ctx.activity(charge, tag="worker", start_timeout=60)(order), Receipt)
    ctx.set_status(receipt)
    ctx.set_value("receipt", receipt)
    assert_type(ctx.get_value("receipt", Receipt), Receipt | None)
    assert_type(ctx.get_value("count", int | str), int | str | None)
    assert_type(ctx.poll_event("approval", list[Order]), list[Order] | None)
    async for approval in ctx.events("approval", Receipt):
        assert_type(approval, Receipt)
        break
    ctx.raise_event("other", "news", order)
    assert_type(ctx.headers["tenant"], str)
    first, second = await asyncio.gather(
        ctx.schedule_activity(charge, order), ctx.schedule_activity(weigh, order)
    )
    assert_type(first, Receipt)
    assert_type(second, float)
    return receipt


async def misuse(ctx: OrchestrationContext, order: Order) -> None:
    ctx.schedule_activity(charge, "an order")  # refused
    ctx.schedule_activity(charge, order, retries=3)  # refused
    ctx.schedule_activity(weigh, 1)  # refused
    ctx.schedule_activity(charge, order, retry=3)  # refused
    ctx.schedule_timer("a month")  # refused
    ctx.schedule_wait(1)  # refused
    ctx.schedule_wait("paid", bool, on_invalid="skip")  # refused
    ctx.schedule_sub_orchestration(ship, "an order")  # refused
    ctx.schedule_orchestration(ship, 1)  # refused
    ctx.schedule_wait("paid", 7)  # refused
    ctx.activity(pay)(order)  # refused
    ctx.activity(pay)("an order", note="")  # refused
    ctx.activity(pay)(order, note=1)  # refused
    ctx.activity(pay)(order, note="", pence=7)  # refused
    ctx.activity(pay, order)  # refused
    ctx.activity(pay, retry=3)  # refused
    ctx.activity(pack)(order)  # refused
    ctx.activity(mailer.send)(1)  # refused
    ctx.activity("pay")(order)  # refused
    ctx.sub_orchestration(remind)("ada", 1)  # refused
    ctx.sub_orchestration(remind)(days=1)  # refused
    ctx.sub_orchestration(pay)(order, note="")  # refused
    ctx.orchestration(remind)("ada", weeks=1)  # refused
    ctx.schedule_activity(charge, order, start_timeout="soon")  # refused
    ctx.set_value(1, order)  # refused
    ctx.get_value("receipt", 7)  # refused
    ctx.delete_value()  # refused
    ctx.poll_event(1)  # refused
    ctx.events("approval", Receipt, on_invalid="skip")  # refused
    ctx.raise_event("other")  # refused
    ctx.headers["tenant"] = "acme"  # refused
    count: int = ctx.get_value("count", int)  # refused
    del count
    result: int = await ctx.schedule_activity(charge, order)  # refused
    del result


async def going_on(ctx: OrchestrationContext, order: Order) -> None:
    ctx.continue_as_new(order, "2.0.0")  # refused


async def going_on_with_arguments(ctx: OrchestrationContext, days: int) -> str:
    if days > 5:
        ctx.continue_as(remind)("ada")
    if days > 4:
        ctx.continue_as(remind)("ada", weeks=1)  # refused
    if days > 3:
        ctx.continue_as(remind)(days=1)  # refused
    if days > 2:
        ctx.continue_as(pay)(Order(1), note="")  # refused
    ctx.continue_as(remind, version="2.0.0")("ada", days=days)


app.orchestration(lambda ctx: None)  # refused
app.activity(name=1)  # refused
app.activity(compare="loose")  # refused
app.orchestration(park_on=TypeError)  # refused
