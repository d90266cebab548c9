"""The same orders in one process, which you can kill by hand and start again."""

from __future__ import annotations

import asyncio
import os

import perdure

import verdict
from director import approve
from orders import process_order
from screen import Screen
from stage import Stage
from worker import runtime


async def run(stage: Stage) -> bool:
    """Start the orders, or go on with those that are there; returns whether everything holds."""
    screen = Screen(f"process {os.getpid()}")
    screen.title(f"kill -9 {os.getpid()} ends it at any moment; the same command then goes on.")
    async with perdure.open_provider(stage.url) as provider:
        client = perdure.Client(provider)
        async with runtime(provider, stage):
            await asyncio.gather(
                *(_see_through(client, screen, stage, order.number) for order in stage.orders())
            )
        return await verdict.show(stage, client, screen)


async def _see_through(client: perdure.Client, screen: Screen, stage: Stage, number: str) -> None:
    order = next(order for order in stage.orders() if order.number == number)
    try:
        await client.start_orchestration(number, process_order, order)
    except perdure.InstanceAlreadyExists:
        screen.say(number, "was there already, and goes on", "blue")
    while not verdict.waits_for_approval(await client.read_execution_history(number, 1)):  # noqa: ASYNC110 # what is waited for is in the storage
        await asyncio.sleep(0.05)
    await asyncio.sleep(stage.pace)
    await approve(client, number)
    await client.wait_for_orchestration(number)
