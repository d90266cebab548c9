"""The orchestrations and activities of all rows, and a runtime that is warm."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import perdure

app = perdure.Registry()
STEPS: list[float] = []
"""When each activity ran: as many as there must be."""


@app.activity
async def nothing(value: int) -> int:
    """Does nothing but note when it ran, so that what is measured is the engine and the store."""
    STEPS.append(time.perf_counter())
    return value


@app.activity
async def echo(text: str) -> str:
    """Returns its payload."""
    STEPS.append(time.perf_counter())
    return text


@app.activity
async def worker_id(value: int) -> int:
    """Tells which process ran it."""
    return os.getpid() + 0 * value


@app.activity
async def work_1ms(value: int) -> int:
    """Works for 1 ms of processor time."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return os.getpid() + 0 * value


@app.orchestration
async def chain(ctx: perdure.OrchestrationContext, length: int) -> int:
    """Activities one after the other."""
    for step in range(length):
        await ctx.schedule_activity(nothing, step)
    return length


@app.orchestration
async def payload_chain(ctx: perdure.OrchestrationContext, text: str) -> int:
    """Five activities that pass a payload on."""
    for _ in range(5):
        text = await ctx.schedule_activity(echo, text)
    return len(text)


@app.orchestration
async def spread_chain(ctx: perdure.OrchestrationContext, works: bool) -> list[int]:
    """Five activities, and which process ran each."""
    activity = work_1ms if works else worker_id
    return [await ctx.schedule_activity(activity, step) for step in range(5)]


@app.orchestration
async def fan_out(ctx: perdure.OrchestrationContext, width: int) -> int:
    """Activities side by side."""
    return len(await asyncio.gather(*(ctx.schedule_activity(nothing, n) for n in range(width))))


@app.orchestration
async def timer(ctx: perdure.OrchestrationContext, seconds: float) -> float:
    """How late a timer fires, in seconds."""
    due = ctx.now() + timedelta(seconds=seconds)
    await ctx.schedule_timer(due)
    return (ctx.now() - due).total_seconds()


@app.orchestration
async def sleeper(ctx: perdure.OrchestrationContext, seconds: int) -> None:
    """Sleeps, or is woken by an event."""
    waits = asyncio.ensure_future(ctx.schedule_wait("wake", int))
    sleeps = asyncio.ensure_future(asyncio.sleep(seconds))
    await asyncio.wait([waits, sleeps], return_when=asyncio.FIRST_COMPLETED)


@app.orchestration
async def one_event(ctx: perdure.OrchestrationContext) -> int:
    """Waits for one event."""
    return await ctx.schedule_wait("go", int)


@app.orchestration
async def chain_and_wait(ctx: perdure.OrchestrationContext, length: int) -> int:
    """A chain with a wait at its end, to be replayed."""
    for step in range(length):
        await ctx.schedule_activity(nothing, step)
    return await ctx.schedule_wait("go", int)


@asynccontextmanager
async def running(url: str) -> AsyncGenerator[perdure.Client]:
    """A client with a runtime beside it, after what is built at the first use was built."""
    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("warm-up", chain, 3)
        await handle.result(timeout=60)
        STEPS.clear()
        yield client


async def play_chains(client: perdure.Client, prefix: str, count: int) -> None:
    """Start chains of 5 at once, and wait for all of them."""
    handles = await asyncio.gather(
        *(client.start_orchestration(f"{prefix}-{n}", chain, 5) for n in range(count))
    )
    found = await asyncio.gather(*(handle.result(timeout=600) for handle in handles))
    check(found, [5] * count)


def check(found: Sequence[object], expected: Sequence[object], *, ran: int | None = None) -> None:
    """Refuse a figure of work that was not done: other results, or fewer activities."""
    if list(found) != list(expected):
        wrong = next(
            (pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), ()
        )
        raise RuntimeError(f"{len(found)} of {len(expected)} results, the first wrong: {wrong}")
    if ran is not None and len(STEPS) < ran:
        raise RuntimeError(f"{len(STEPS)} activities ran, not {ran}")
