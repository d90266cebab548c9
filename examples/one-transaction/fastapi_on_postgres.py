"""A FastAPI endpoint on PostgreSQL that inserts an order and starts its orchestration in one transaction.

The database is that of PGHOST, PGDATABASE and PGUSER; it has the table of the shop, and those of Perdure
by `python -m perdure_postgres migrate`.
"""

from __future__ import annotations

import perdure
import perdure_postgres
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine("postgresql+psycopg://")
web = FastAPI()


@web.post("/orders/{number}", status_code=201)
async def place(number: str) -> None:
    async with engine.begin() as connection:
        insert = text("INSERT INTO orders VALUES (:number)")
        await connection.execute(insert, {"number": number})
        client = perdure.Client(perdure_postgres.bind(connection))
        await client.start_orchestration(number, "process")  # workers run it
