"""What the processes run: instances that take numbers one after the other, and work that kills.

Every number goes through an activity, several at once, a timer or a child, and every few numbers
the instance continues as new. Its output is the numbers in the order in which it took them, so
one that is lost, doubled or out of order shows.
"""

from __future__ import annotations

import asyncio
import os
import signal

from perdure import OrchestrationContext, Registry, activity_context
from perdure.errors import ActivityFailed

NUMBERS_PER_EXECUTION = 15
END = -1
"""The number that ends an instance."""

app = Registry()


@app.activity
async def pass_on(number: int) -> int:
    """Gives the number back."""
    return number


@app.activity
def pass_on_in_a_thread(number: int) -> int:
    """Gives the number back."""
    return number


@app.activity
async def die_in_delivery(last: int) -> int:
    """Kills its process up to a delivery, and then says which delivery it is."""
    if activity_context().delivery <= last:
        die()
    return activity_context().delivery


@app.orchestration
async def pass_back(ctx: OrchestrationContext, number: int) -> int:
    """The child of a number."""
    return await ctx.schedule_activity(pass_on, number)


@app.orchestration
async def collect(ctx: OrchestrationContext, taken: list[int]) -> list[int]:
    """Takes numbers until the one that ends it."""
    for _ in range(NUMBERS_PER_EXECUTION):
        if (number := await ctx.schedule_wait("number", int)) == END:
            break
        taken.append(await treat(ctx, number))
    else:
        ctx.continue_as_new(taken)
    return taken


async def treat(ctx: OrchestrationContext, number: int) -> int:
    """One number, each in one of four ways."""
    match number % 4:
        case 0:
            return await ctx.schedule_activity(pass_on, number)
        case 1:
            first, second = await asyncio.gather(
                ctx.schedule_activity(pass_on, number),
                ctx.schedule_activity(pass_on_in_a_thread, number),
            )
            return max(first, second)
        case 2:
            await asyncio.sleep(0.02)
            return number
        case _:
            return await ctx.schedule_sub_orchestration(pass_back, number)


@app.orchestration
async def fragile(ctx: OrchestrationContext, last: int) -> int:
    """Says in which delivery its activity survived."""
    return await ctx.schedule_activity(die_in_delivery, last)


@app.orchestration
async def deadly_activity(ctx: OrchestrationContext) -> str:
    """Says how an activity failed that always kills its process."""
    try:
        await ctx.schedule_activity(die_in_delivery, 1000)
    except ActivityFailed as error:
        return error.type_name
    return "survived"


@app.orchestration
async def deadly_turn(ctx: OrchestrationContext) -> str:
    """Kills its process in every turn."""
    die()
    return "survived"


def die() -> None:
    """Kill this process, now."""
    os.kill(os.getpid(), signal.SIGKILL)
