"""Writes what the installed release stores of `app.py`, for later releases to read.

    python write.py sqlite 0.2.0/sqlite.sql
    python write.py dynamodb 0.2.0/dynamodb.json

Run it in an environment that has the release; it starts DynamoDB Local itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import app as application
import perdure
from app import LARGE, SMALL, app
from perdure.contract import Provider
from perdure_dynamodb import local

TABLE = "Kept"
SLICE = timedelta(milliseconds=200)
OPTIONS = perdure.RuntimeOptions(poll_interval=SLICE)


async def close_in_order(provider: Provider, clock: perdure.ManualClock, size: int) -> None:
    """The process that ran first: it ended some instances, and was closed."""
    client = perdure.Client(provider)
    async with perdure.Runtime(provider, app, options=OPTIONS):
        await start(client, "drifts", "drifts", 5)
        await start(client, "done", "doubles", 1)
        await client.raise_event("done", "go")
        await start(client, "failed", "fails", "an error's text")
        await start(client, "cancelled", "doubles", 1)
        await start(client, "halfway", "doubles", 4)
        await settle(clock)
        await client.cancel_instance("cancelled", "not wanted any more")
        await settle(clock)


async def be_killed(provider: Provider, clock: perdure.ManualClock, size: int) -> None:
    """The process that ran next: it was killed in the middle of its work."""
    client = perdure.Client(provider)
    application.writing = True
    async with perdure.Runtime(provider, app, options=OPTIONS):
        await client.raise_event("drifts", "go")
        for instance, name, given in (
            ("waits", "doubles", 1),
            ("sleeps", "sleeps", 2),
            ("gives-up", "gives_up", 3),
            ("asks", "asks", 4),
            ("works", "works", 5),
            ("retries", "retries", 6),
            ("attempts", "attempts", 7),
            ("again", "again", 0),
            ("parent", "parent", 8),
            ("finds-it-taken", "finds_it_taken", 9),
            ("fans-out", "fans_out", 40),
            ("cleans-up", "cleans_up", 10),
            ("comes-later", "comes_later", 11),
            ("calls-what-comes-later", "calls_what_comes_later", 12),
            ("versioned", "versioned", 0),
            ("carries-much", "carries_much", "a" * size),
            ("told", "doubles", 13),
            ("to-be-cancelled", "doubles", 14),
        ):
            await start(client, instance, name, given)
        await client.raise_event("again", "carried", "39")
        await client.raise_event("carries-much", "much", json.dumps("b" * size))
        await settle(clock)
        await client.cancel_instance("cleans-up", "enough")
        await settle(clock)
        os._exit(0)


async def leave_messages(provider: Provider, clock: perdure.ManualClock, size: int) -> None:
    """A client: no runtime has read yet what it left."""
    client = perdure.Client(provider)
    await start(client, "untouched", "doubles", 15)
    await start(client, "untouched-versioned", "versioned", 0)
    await client.raise_event("early", "go")
    await client.raise_event("told", "go")
    await client.cancel_instance("to-be-cancelled", "no longer wanted")


async def start(client: perdure.Client, instance: str, name: str, input: object) -> None:
    await client.start_orchestration(instance, name, json.dumps(input))


async def settle(clock: perdure.ManualClock) -> None:
    """Let happen what can happen."""
    for _ in range(15):
        await asyncio.sleep(0.1)
        clock.advance(SLICE)


PROCESSES = (close_in_order, be_killed, leave_messages)


async def be_process(number: int, url: str, size: int) -> None:
    clock = perdure.ManualClock(datetime(2030, 1, 1, 0, number, tzinfo=UTC))
    async with perdure.open_provider(url, clock=clock) as provider:
        await PROCESSES[number](provider, clock, size)


def run_processes(url: str, size: int) -> None:
    for number in range(len(PROCESSES)):
        line = [sys.executable, __file__, "process", str(number), url, str(size)]
        subprocess.run(line, check=True)  # noqa: S603 # this file


def dump_sqlite(path: Path) -> str:
    """The file as statements."""
    connection = sqlite3.connect(path)
    try:
        return "\n".join(connection.iterdump()) + "\n"
    finally:
        connection.close()


async def dump_dynamodb(endpoint: str) -> str:
    """The items of the table as DynamoDB's protocol has them, one a line; binaries in Base64."""
    import aioboto3

    session = aioboto3.Session("local", "local", region_name="eu-west-1")
    items: list[dict[str, Any]] = []
    async with session.client("dynamodb", endpoint_url=endpoint) as client:
        async for page in client.get_paginator("scan").paginate(TableName=TABLE):
            items += page["Items"]
    items.sort(key=lambda item: (item["pk"]["S"], item["sk"]["S"]))
    lines = [json.dumps(item, sort_keys=True, default=as_base64) for item in items]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def main(scheme: str, target: str) -> None:
    if scheme == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kept.db")
            run_processes(f"sqlite:///{path}", SMALL)
            Path(target).write_text(dump_sqlite(path), encoding="utf-8")
    else:
        with local.running() as endpoint:
            run_processes(local.url_of(endpoint, TABLE), LARGE)
            Path(target).write_text(asyncio.run(dump_dynamodb(endpoint)), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "process":
        asyncio.run(be_process(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    else:
        main(*sys.argv[1:])
