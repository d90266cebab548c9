"""Stores that earlier releases wrote: today's code goes on with every instance to its end."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import sqlite3
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure.clock import SystemClock
from perdure.contract import ProviderUrl
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._opening import checked_calls, open_on
from perdure_dynamodb.testing.model import ModelCalls

HOME = Path(__file__).parent.parent
RELEASES = sorted(path.name for path in HOME.iterdir() if (path / "sqlite.sql").exists())
TABLE = "Kept"

spec = importlib.util.spec_from_file_location("kept_application", HOME / "app.py")
application: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(application)

HOUR = application.HOUR
RUNS = {
    "drifts": 20,
    "halfway": 32,
    "waits": 8,
    "sleeps": 2,
    "gives-up": "gave up",
    "asks": 8,
    "works": 10,
    "retries": 12,
    "attempts": 14,
    "again": 42,
    "parent": 16,
    "child": 16,
    "detached": 16,
    "finds-it-taken": "taken",
    "fans-out": 1560,
    "comes-later": 22,
    "calls-what-comes-later": 24,
    "versioned": "1.0.0",
    "told": 104,
    "untouched": 120,
    "untouched-versioned": "2.0.0",
    "early": 8,
}
"""What the instances that were running come to, as values."""
ENDS = {*RUNS, "carries-much", "cleans-up", "to-be-cancelled"}
WAIT_FOR_THE_CLOCK = {"sleeps", "gives-up", "retries"}


class OnTheModel:
    """The table's items in DynamoDB's model."""

    large = application.LARGE

    @asynccontextmanager
    async def open(self, release, clock):
        calls = ModelCalls()
        for item in items_of(release):
            parameters = {"TableName": TABLE, "Item": item}
            await calls.call("PutItem", parameters)
        async with open_on(calls, DynamoDBOptions(table=TABLE), clock=clock) as provider:
            yield provider


class OnDynamoDBLocal:
    """The table's items in a table of DynamoDB Local."""

    large = application.LARGE

    def __init__(self, url):
        self._url = url.replace("PerdureTests", f"Kept{datetime.now(UTC):%H%M%S%f}")

    @asynccontextmanager
    async def open(self, release, clock):
        options = DynamoDBOptions.from_url(ProviderUrl.parse(self._url))
        async with checked_calls(options, clock=SystemClock()) as calls:
            for item in items_of(release):
                await calls.call("PutItem", {"TableName": options.table, "Item": item})
            async with open_on(calls, options, clock=clock) as provider:
                yield provider


class OnSQLite:
    """The statements in a file."""

    large = application.SMALL

    def __init__(self, folder):
        self._path = folder / "kept.db"

    @asynccontextmanager
    async def open(self, release, clock):
        script = (HOME / release / "sqlite.sql").read_text(encoding="utf-8")
        connection = sqlite3.connect(self._path)
        connection.executescript("PRAGMA journal_mode=WAL;" + script)
        connection.close()
        async with perdure.open_provider(f"sqlite:///{self._path}", clock=clock) as provider:
            yield provider


def items_of(release):
    def read(value):
        [(kind, content)] = value.items()
        match kind:
            case "B":
                return {kind: base64.b64decode(content)}
            case "M":
                return {kind: {name: read(inner) for name, inner in content.items()}}
            case "L":
                return {kind: [read(inner) for inner in content]}
            case _:
                return value

    text = (HOME / release / "dynamodb.json").read_text(encoding="utf-8")
    return [{name: read(value) for name, value in item.items()} for item in json.loads(text)]


@pytest.fixture(params=["sqlite", "model", pytest.param("local", marks=pytest.mark.slow)])
def store(request, tmp_path):
    match request.param:
        case "sqlite":
            return OnSQLite(tmp_path)
        case "model":
            return OnTheModel()
        case _:
            return OnDynamoDBLocal(request.getfixturevalue("dynamodb_url"))


@pytest.mark.parametrize("release", RELEASES)
async def test_every_instance_goes_on_to_its_end(store, release):
    clock = perdure.ManualClock(datetime(2030, 1, 1, 0, 10, tzinfo=UTC))
    options = perdure.RuntimeOptions(tags={None, "gpu"})
    apps = (application.app, application.newer)
    async with store.open(release, clock) as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("early", "doubles", "1")
        async with perdure.Runtime(provider, *apps, options=options):
            for instance in RUNS:
                if instance not in ("drifts", "early", "told"):
                    await client.raise_event(instance, "go")
            await client.raise_event("carries-much", "go")
            ended = await ends_of(client, ENDS - WAIT_FOR_THE_CLOCK)
            clock.advance(2 * HOUR)
            ended |= await ends_of(client, WAIT_FOR_THE_CLOCK)

    outputs = {name: end.output for name, end in ended.items() if name in RUNS}
    assert {name: json.loads(output) for name, output in outputs.items()} == RUNS
    assert json.loads(ended["carries-much"].output) == 3 * store.large
    assert "enough" in ended["cleans-up"].details.display_message()
    assert "no longer wanted" in ended["to-be-cancelled"].details.display_message()


async def ends_of(client, names):
    """The statuses in which these instances end."""

    async def wait(name):
        return name, await client.wait_for_orchestration(name, timedelta(days=30))

    return dict(await asyncio.gather(*map(wait, names)))


@pytest.mark.parametrize("release", RELEASES)
async def test_what_has_ended_is_read_as_before(store, release):
    clock = perdure.ManualClock(datetime(2030, 1, 1, 0, 10, tzinfo=UTC))
    async with store.open(release, clock) as provider:
        client = perdure.Client(provider)
        done = await client.get_orchestration_status("done")
        failed = await client.get_orchestration_status("failed")
        cancelled = await client.get_orchestration_status("cancelled")
        events = await client.read_execution_history("done", 1)
        executions = await client.list_executions("again")
        running = await client.list_instances_by_status("Running")

    assert done == perdure.Completed(output="8")
    assert failed.details.display_message() == "RuntimeError: it went wrong"
    assert "not wanted any more" in cancelled.details.display_message()
    assert [event.kind for event in events][-1] == "OrchestrationCompleted"
    assert executions == [1, 2, 3, 4]
    assert set(running) == ENDS - {"early"}
