"""A FastAPI application that starts orders, tells how they stand, and passes approvals on.

`ORDERS_IN_WEB=1` lets each of its processes run orders too; else workers run them.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import perdure
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from orders import app, deliver

STORAGE = os.environ.get("STORAGE", "sqlite:///orders.db")
RUNS_ORDERS = os.environ.get("ORDERS_IN_WEB") == "1"
SHUTDOWN_GRACE = timedelta(seconds=float(os.environ.get("SHUTDOWN_GRACE", "10")))


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
    """One provider for each process, on the event loop of the server."""
    options = perdure.RuntimeOptions(shutdown_grace=SHUTDOWN_GRACE)
    async with perdure.open_provider(STORAGE) as provider:
        web.state.client = perdure.Client(provider)
        web.state.runtime = None
        if RUNS_ORDERS:
            async with perdure.Runtime(provider, app, options=options) as web.state.runtime:
                yield
        else:
            yield


web = FastAPI(lifespan=lifespan)


def client_of(request: Request) -> perdure.Client:
    return request.app.state.client


Orders = Annotated[perdure.Client, Depends(client_of)]


@web.post("/orders/{number}", status_code=202)
async def start(number: str, item: str, orders: Orders) -> dict[str, str]:
    # The same request once more starts nothing.
    await orders.start_orchestration(number, deliver, item, if_exists="return")
    return {"order": number}


@web.get("/orders/{number}")
async def look(number: str, orders: Orders) -> dict[str, str | None]:
    match await orders.get_orchestration_status(number):
        case perdure.NotFound():
            raise HTTPException(404)
        case perdure.Running(parked=parked):
            return {"state": "running", "parked": parked.reason if parked else None}
        case perdure.Completed(output=output):
            return {"state": "completed", "output": output}
        case perdure.Failed(details=details):
            return {"state": "failed", "reason": details.display_message()}


@web.get("/orders/{number}/changes")
async def follow(number: str, orders: Orders) -> StreamingResponse:
    """Server-sent events: one for each change that is seen, until the order ends."""
    if await orders.get_orchestration_status(number) == perdure.NotFound():
        raise HTTPException(404)

    async def changes() -> AsyncGenerator[str]:
        async for info in orders.watch_instance(number):
            parked = info.parked.reason if info.parked else None
            change = {"status": info.status, "progress": info.custom_status, "parked": parked}
            yield f"data: {json.dumps(change)}\n\n"

    return StreamingResponse(changes(), media_type="text/event-stream")


@web.post("/orders/{number}/approval", status_code=202)
async def approve(number: str, granted: bool, orders: Orders) -> None:
    await orders.raise_event_typed(number, "approval", granted, event_id=f"approval of {number}")


@web.get("/live")
async def live() -> None:
    """The event loop moves."""


@web.get("/ready")
async def ready(request: Request, orders: Orders) -> None:
    """The storage answers, and the runtime of this process runs if it has one."""
    runtime: perdure.Runtime | None = request.app.state.runtime
    if runtime is not None and not runtime.healthy:
        raise HTTPException(503)
    try:
        await orders.get_orchestration_status("is anything there?")
    except perdure.ProviderError as error:
        raise HTTPException(503) from error
