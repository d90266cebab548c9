"""PostgreSQL beside many ended instances: `python -m benchmarks.ended_instances [--count N] [--minutes N]`.

Two databases of one server have the same load, in slices that alternate. In one of them a million
ended instances are stored, as copies that the server makes of one that was played. Throughput,
latency, lease calls and what a runtime without work costs are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from statistics import median
from typing import Any

import perdure
import psycopg
from perdure.contract import Provider, Serves, TurnRequest

from benchmarks.databases import databases
from benchmarks.long_transaction import Side, report, side, take_turns
from benchmarks.measuring import DATABASE
from benchmarks.workloads.functions import app, chain

COUNT = 1_000_000
LEASES = 100
REST = 5.0
"""Seconds without work."""
_STEP = 100_000
_TABLES = {"instances": "number", "turns": "number", "executions": "instance", "events": "instance"}
_COPY = """
INSERT INTO perdure.{table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values} FROM generate_series({first}, {last}) AS copy, perdure.{table} AS row
WHERE row.{key} = {number}
"""
_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'perdure' AND table_name = %s"


async def play_one(url: str) -> None:
    """Store the instance that is copied."""
    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        await (await client.start_orchestration("copied", chain, 1)).result(timeout=60)


def fill(connection: psycopg.Connection[Any], count: int) -> None:
    """Store copies of the instance that was played, under numbers that follow."""

    def ask(query: str, *values: object) -> list[Any]:
        return connection.execute(query.encode(), values).fetchall()

    [(number,)] = ask("SELECT number FROM perdure.instances WHERE id = 'copied'")
    [(after,)] = ask("SELECT max(number) FROM perdure.instances")
    columns = {table: [name for (name,) in ask(_COLUMNS, table)] for table in _TABLES}
    for begin in range(1, count + 1, _STEP):
        for table, key in _TABLES.items():
            values = {
                key: f"{after} + copy",
                "id": "'old-' || copy",
                "created_at": "row.created_at + copy",
            }
            statement = _COPY.format(
                table=table,
                key=key,
                number=number,
                first=begin,
                last=min(begin + _STEP - 1, count),
                columns=", ".join(columns[table]),
                values=", ".join(values.get(name, f"row.{name}") for name in columns[table]),
            )
            connection.execute(statement.encode())
        print(".", end="", file=sys.stderr, flush=True)
    ask("SELECT setval(pg_get_serial_sequence('perdure.instances', 'number'), %s)", after + count)
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
    print(file=sys.stderr)


async def play(
    empty: str, full: str, minutes: float
) -> tuple[Sequence[Side], dict[str, list[float]]]:
    """Slices of both sides in turn; and the ratios of leases and of rests, full to empty."""
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(side(name, url))
            for name, url in (("without", empty), ("with", full))
        ]
        await take_turns(sides, minutes)
        costs: dict[str, list[float]] = {"lease call, ms": [], "idle, % of a core": []}
        for each in sides:
            costs["idle, % of a core"].append(await each.rest(REST))
        samples: list[list[float]] = [[], []]
        for number in range(LEASES):
            for place, each in enumerate(sides):
                samples[place].append(await lease(each.client.provider, f"nothing-{number}"))
        costs["lease call, ms"] = [median(each) for each in samples]
        return sides, costs


async def lease(provider: Provider, token: str) -> float:
    """Milliseconds of a lease call that finds no work."""
    request = TurnRequest(
        token=token,
        limit=16,
        lease_for=timedelta(seconds=30),
        serves=Serves(orchestrations={"chain": frozenset()}),
    )
    began = time.perf_counter()
    await provider.lease_turns(request)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Fill, play both, and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ended_instances")
    parser.add_argument("--count", type=int, default=COUNT, help=f"default: {COUNT:,}")
    parser.add_argument("--minutes", type=float, default=1.0, help="of playing; default: 1")
    arguments = parser.parse_args()
    count: int = arguments.count
    minutes: float = arguments.minutes
    with databases() as server, server.one(0) as empty, server.one(0) as full:
        asyncio.run(play_one(f"{full[DATABASE]}&create=true"))
        with psycopg.connect(full[DATABASE], autocommit=True) as connection:
            fill(connection, count)
        sides, costs = asyncio.run(play(empty[DATABASE], full[DATABASE], minutes))
    print(f"{count:,} ended instances")
    report(sides[0].slices, sides[1].slices)
    for name, (without, beside) in costs.items():
        ratio = f"{beside / without:.2f}" if without else "-"
        print(f"{name:40} without {without:9.2f}   with {beside:9.2f}   ratio {ratio}")


if __name__ == "__main__":
    main()
