"""The web page of a store, asked over HTTP without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import perdure
import pytest
from perdure.contract import Provider
from perdure_console.web import application
from starlette.applications import Starlette
from starlette.routing import Mount

app = perdure.Registry()
HOSTILE = '"><script>document.title="hacked"</script>'


@app.activity
async def refuse(order: str) -> str:
    raise perdure.NonRetryable(f"no {order}")


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, order: str) -> str:
    return await ctx.schedule_activity(refuse, order)


@app.orchestration
async def wait(ctx: perdure.OrchestrationContext, order: str) -> str:
    ctx.set_status(order)
    ctx.set_value("order", order)
    return str(await ctx.schedule_wait("go"))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A store with the failed `order-1`, and `order-2` that waits and is hostile throughout."""
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            failed = await client.start_orchestration("order-1", pay, HOSTILE)
            await failed.wait(20)
            for name in ("order-2", f"x/../{HOSTILE}"):
                await client.start_orchestration(name, wait, HOSTILE)
                await client.wait_for_value(name, "order", str, 20)
        yield provider


Site = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def site(provider: Provider) -> Site:
    """Opens a browser-like client of the application with these settings."""

    @asynccontextmanager
    async def open_site(
        *, host: str = "127.0.0.1", peer: str = "127.0.0.1", mounted: str = "", **settings: Any
    ) -> AsyncIterator[httpx2.AsyncClient]:
        made: Starlette = application(provider, **settings)
        served = Starlette(routes=[Mount(mounted, made)]) if mounted else made
        transport = httpx2.ASGITransport(served, client=(peer, 50000))
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            yield client

    return open_site
