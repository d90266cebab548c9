"""An order and its orchestration: one transaction, on a file that both share."""

import asyncio
import sqlite3
from contextlib import closing

import perdure
import perdure_sqlite
from perdure import OrchestrationContext, activity_context

shop = perdure.Registry()

FILE = "shop.db"


@shop.activity
async def confirm(number: str) -> str:
    return f"{number} is confirmed"


@shop.activity(transactional=True)
def pay(number: str) -> int:
    connection = activity_context().connection
    connection.execute("UPDATE orders SET paid = paid + cents WHERE number = ?", (number,))
    return 1


@shop.orchestration
async def process(ctx: OrchestrationContext, number: str) -> str:
    await ctx.schedule_activity(pay, number)
    return await ctx.schedule_activity(confirm, number)


def place(number: str, cents: int) -> None:
    """The order and its orchestration are there together, or neither is."""
    with closing(sqlite3.connect(FILE)) as connection, connection:
        connection.execute("INSERT INTO orders VALUES (?, ?, 0)", (number, cents))
        client = perdure.BlockingClient(perdure_sqlite.bind(connection))
        client.start_orchestration(number, process, number)
        if cents <= 0:
            raise ValueError("an order has a price")


def orders() -> list[tuple[str, int, int]]:
    with closing(sqlite3.connect(FILE)) as connection:
        return connection.execute("SELECT number, cents, paid FROM orders").fetchall()


async def main() -> None:
    with closing(sqlite3.connect(FILE)) as connection, connection:
        connection.execute(
            "CREATE TABLE orders (number TEXT PRIMARY KEY, cents INTEGER, paid INTEGER)"
        )
    async with perdure.open_provider(f"sqlite:///{FILE}") as provider:
        place("order-1", 500)
        try:
            place("order-2", 0)
        except ValueError:
            pass
        async with perdure.Runtime(provider, shop):
            client = perdure.Client(provider)
            result = await client.get_handle("order-1", process).result()
            assert result == "order-1 is confirmed"
        assert orders() == [("order-1", 500, 500)]
        assert await client.get_orchestration_status("order-2") == perdure.NotFound()


if __name__ == "__main__":
    asyncio.run(main())
