"""A small application for the tests of the testing kit: an order with reminders and payments."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import perdure
from perdure import OrchestrationContext, RetryPolicy

app = perdure.Registry()
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Charge:
    """What is to be paid."""

    cents: int


@app.activity
async def charge_card(charge: Charge) -> str:
    """Charge the card that the resources name."""
    card = perdure.activity_context(list).resources
    card.append(charge.cents)
    return f"receipt {len(card)}"


@app.activity
def remind(customer: str) -> None:
    """Tell the customer, who is not there."""
    raise ConnectionError(f"{customer} has no telephone")


@app.activity
async def ship(item: str, *, express: bool = False) -> str:
    """Send one item."""
    return f"{item} by {'air' if express else 'ship'}"


@app.activity
async def refund(receipt: str) -> None:
    """Give the money back."""


@app.orchestration
async def pay(ctx: OrchestrationContext, cents: int) -> str:
    """Pay, and try again every ten seconds."""
    policy = RetryPolicy(max_attempts=3, backoff=perdure.Fixed(timedelta(seconds=10)))
    return await ctx.schedule_activity(charge_card, Charge(cents), retry=policy)


@app.orchestration
async def approve(ctx: OrchestrationContext) -> str:
    """Wait a week for the approval, then remind."""
    try:
        async with asyncio.timeout(WEEK.total_seconds()):
            return await ctx.schedule_wait("approval", str)
    except TimeoutError:
        await ctx.schedule_activity(remind, "Ada")
        return "reminded"


@app.orchestration
async def order(ctx: OrchestrationContext, cents: int) -> str:
    """Pay, wait for the approval, and give the money back if cancelled meanwhile."""
    receipt = await ctx.schedule_sub_orchestration(pay, cents)
    try:
        await ctx.schedule_wait("approval", str)
    except asyncio.CancelledError:
        await ctx.schedule_activity(refund, receipt)
        raise
    return await ctx.activity(ship)("book", express=True)


@app.orchestration
async def wait_for_ever(ctx: OrchestrationContext) -> None:
    """Wait for an event that never comes."""
    await ctx.schedule_wait("never")


@app.orchestration
async def sleep_twice(ctx: OrchestrationContext) -> float:
    """Sleep for a day, twice; the loop's clock tells how long it took."""
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(86_400)
    await asyncio.sleep(86_400)
    return asyncio.get_running_loop().time() - began
