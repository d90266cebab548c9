"""A FastAPI endpoint that inserts an order and starts its orchestration in one transaction."""

from __future__ import annotations

import aiosqlite
import perdure
import perdure_sqlite
from fastapi import FastAPI

FILE = "shop.db"
web = FastAPI()


async def prepare() -> None:
    """Make the tables of the shop and those of Perdure, in one file."""
    async with aiosqlite.connect(FILE) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY)")
    async with perdure.open_provider(f"sqlite:///{FILE}"):
        pass


@web.post("/orders/{number}", status_code=201)
async def place(number: str) -> None:
    async with aiosqlite.connect(FILE) as connection:
        await connection.execute("INSERT INTO orders VALUES (?)", (number,))
        client = perdure.Client(perdure_sqlite.bind(connection))
        await client.start_orchestration(number, "process")  # workers run it
        await connection.commit()
