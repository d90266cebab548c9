"""A SQLite file with instances in every state, and the command run on it, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure_console import main
from perdure_dynamodb.testing.fixtures import dynamodb_endpoint, dynamodb_url
from perdure_postgres.testing.fixtures import postgres_url

__all__ = ["dynamodb_endpoint", "dynamodb_url", "postgres_url"]

app = perdure.Registry()


class Shop:
    """Whether the bank answers."""

    is_open = False


@app.activity
async def charge(order: str) -> str:
    if not perdure.activity_context(Shop).resources.is_open:
        raise perdure.NonRetryable("the bank is closed")
    return f"charged {order}"


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, order: str) -> str:
    return await ctx.schedule_activity(charge, order)


@app.orchestration
async def wait(ctx: perdure.OrchestrationContext) -> str:
    return await ctx.schedule_wait("go", str)


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(wait, instance="parcel")


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """A storage with the failed `order-1`, the running `order-2`, and `delivery` with a child."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app, resources=Shop()):
            failed = await client.start_orchestration("order-1", pay, "cup")
            await failed.wait(20)
            await client.start_orchestration("order-2", wait)
            await client.start_orchestration("delivery", deliver)
            for instance in ("order-2", "parcel"):
                async for info in client.watch_instance(instance):
                    if info.updated_at > info.created_at:
                        break
    return url


class Said:
    """What the command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def plain(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def perdure_says(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command on a storage, with these words."""

    def run(command: str, url: str, *words: str) -> Said:
        capsys.readouterr()
        code = main([command, "--url", url, *words])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run
