"""A FastAPI application that starts orders, tells how they stand, and passes approvals on.

Its process runs a runtime too; leave the runtime out where other processes do the work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import perdure
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

orders = perdure.Registry()


@orders.orchestration
async def order(ctx: perdure.OrchestrationContext, item: str) -> str:
    approved = await ctx.schedule_wait("approval", bool)
    return f"{item} is {'sent' if approved else 'put back'}"


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
    async with perdure.open_provider("sqlite:///orders.db") as provider:
        async with perdure.Runtime(provider, orders):
            web.state.client = perdure.Client(provider)
            yield


web = FastAPI(lifespan=lifespan)


def client_of(request: Request) -> perdure.Client:
    client = request.app.state.client
    assert isinstance(client, perdure.Client)
    return client


@web.post("/orders/{number}", status_code=202)
async def start(number: str, item: str, request: Request) -> dict[str, str]:
    # The same request once more starts nothing.
    await client_of(request).start_orchestration(number, order, item, if_exists="return")
    return {"order": number}


@web.get("/orders/{number}")
async def look(number: str, request: Request) -> dict[str, object]:
    match await client_of(request).get_orchestration_status(number):
        case perdure.NotFound():
            raise HTTPException(404)
        case perdure.Running(parked=parked):
            return {"state": "running", "parked": parked.reason if parked else None}
        case perdure.Completed(output=output):
            return {"state": "completed", "output": output}
        case perdure.Failed(details=details):
            return {"state": "failed", "reason": details.display_message()}


@web.post("/orders/{number}/approval", status_code=202)
async def approve(number: str, granted: bool, request: Request) -> None:
    client = client_of(request)
    await client.raise_event_typed(number, "approval", granted, event_id=f"approval {number}")


def main() -> None:
    with TestClient(web) as browser:
        assert browser.get("/orders/o-1").status_code == 404
        for _ in range(2):
            assert browser.post("/orders/o-1", params={"item": "lamp"}).status_code == 202
        assert browser.get("/orders/o-1").json() == {"state": "running", "parked": None}
        for _ in range(2):
            browser.post("/orders/o-1/approval", params={"granted": True})
        while (answer := browser.get("/orders/o-1").json())["state"] == "running":
            pass
        assert answer == {"state": "completed", "output": '"lamp is sent"'}


if __name__ == "__main__":
    main()
