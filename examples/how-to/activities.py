"""Activities: a coroutine function, a plain function, a registered name, and a tag."""

import asyncio

import perdure
from pydantic import BaseModel

app = perdure.Registry()


class Order(BaseModel):
    item: str
    cents: int


@app.activity
async def charge(order: Order, *, currency: str = "EUR") -> str:
    key = perdure.activity_context().idempotency_key  # the same in every run of this step
    return await bank.charge(order.cents, currency, idempotency_key=key)


@app.activity(name="mail.send")
def send_mail(text: str) -> int:  # a plain function runs in a thread
    return len(text)


@app.activity
async def import_rows(path: str) -> int:
    rows = 0
    for part in range(10):
        rows += await import_part(path, part)
        if perdure.activity_context().cancel_requested:
            break  # the result is not wanted any more, or the process is about to stop
    return rows


@app.orchestration
async def buy(ctx: perdure.OrchestrationContext, order: Order) -> list[object]:
    receipt = await ctx.activity(charge)(order, currency="USD")
    length = await ctx.schedule_activity("mail.send", receipt, result_type=int)
    rows = await ctx.schedule_activity(import_rows, "orders.csv")
    return [receipt, length, rows]


class Bank:
    """Charges once for each key, as a payment service does."""

    def __init__(self) -> None:
        self.booked: dict[str, int] = {}

    async def charge(self, cents: int, currency: str, *, idempotency_key: str) -> str:
        self.booked.setdefault(idempotency_key, cents)
        return f"charged {cents} {currency}"


bank = Bank()


async def import_part(path: str, part: int) -> int:
    return len(path) + part


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        order = Order(item="lamp", cents=4_900)
        handle = await perdure.Client(provider).start_orchestration("buy-1", buy, order)
        assert await handle.result(timeout=10) == ["charged 4900 USD", 16, 145]


asyncio.run(main())
