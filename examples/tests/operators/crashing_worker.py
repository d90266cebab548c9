"""A worker whose code ends the process when an order is approved: `crashing_worker.py FILE LEDGER`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import perdure

sys.path.insert(0, str(Path(__file__).parents[2] / "order"))

import orders
from outside import Outside
from screen import Screen

app = perdure.Registry(replace=True)
for activity in (orders.reserve, orders.charge, orders.refund, orders.release):
    app.activity(activity)


@app.orchestration
async def process_order(ctx: perdure.OrchestrationContext, order: orders.Order) -> orders.Outcome:
    await asyncio.gather(
        *(
            ctx.schedule_activity(
                orders.reserve,
                orders.Task(order=order.number, item=item.name),
                retry=orders.TRY_AGAIN,
                cancellation="wait",
            )
            for item in order.items
        )
    )
    os._exit(1)  # as a process does that uses up its memory


async def work(file: str, ledger: str) -> None:
    around = orders.Surroundings(
        outside=Outside(Path(ledger)), screen=Screen("crash"), answer_seconds=0
    )
    options = perdure.RuntimeOptions(
        turn_lease=timedelta(seconds=0.5), activity_lease=timedelta(seconds=0.5), max_attempts=1
    )
    async with (
        perdure.open_provider(f"sqlite:///{file}") as provider,
        perdure.Runtime(provider, app, resources=around, options=options) as runtime,
    ):
        await runtime.run_until_stopped()


asyncio.run(work(*sys.argv[1:]))
