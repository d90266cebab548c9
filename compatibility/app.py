"""An application whose instances stand in every state that a release can leave behind.

`write.py` runs it under the release that is to be kept, the tests under today's code. It uses
only what has the same form in every release.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import perdure

HOUR = timedelta(hours=1)
SMALL, LARGE = 1_000, 450_000
"""Characters of a payload; DynamoDB cannot keep a large one in one item."""

app = perdure.Registry()
newer = perdure.Registry()
"""What the writing process does not have, and the reading one has."""
writing = False
"""Whether activities that are to be found under way go on for ever, and code drifts."""


@app.activity
async def double(x: int) -> int:
    return 2 * x


@app.activity
def double_in_a_thread(x: int) -> int:
    return 2 * x


@app.activity
async def fail(message: str) -> None:
    raise ValueError(message)


@app.activity
async def double_later(x: int) -> int:
    if writing:
        await asyncio.Event().wait()
    return 2 * x


@app.activity
async def double_next_time(x: int) -> int:
    if writing:
        raise ConnectionError("not yet")
    return 2 * x


@app.activity
async def repeat(text: str, /) -> str:
    return text


@newer.activity
async def double_newly(x: int) -> int:
    return 2 * x


@app.orchestration
async def doubles(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Steps of both kinds and a wait between them."""
    y = await ctx.schedule_activity(double, x)
    z = await ctx.schedule_activity(double_in_a_thread, y)
    await ctx.schedule_wait("go")
    return await ctx.schedule_activity(double, z)


@app.orchestration
async def sleeps(ctx: perdure.OrchestrationContext, x: int) -> int:
    await asyncio.sleep(HOUR.total_seconds())
    return x


@app.orchestration
async def gives_up(ctx: perdure.OrchestrationContext, x: int) -> str:
    try:
        async with asyncio.timeout(HOUR.total_seconds()):
            await ctx.schedule_wait("never")
    except TimeoutError:
        return "gave up"
    return "went on"


@app.orchestration
async def asks(ctx: perdure.OrchestrationContext, x: int) -> int:
    return await ctx.schedule_activity(double, x, tag="gpu")


@app.orchestration
async def works(ctx: perdure.OrchestrationContext, x: int) -> int:
    return await ctx.schedule_activity(double_later, x)


@app.orchestration
async def retries(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Waits between two attempts, with a limit for both together."""
    policy = perdure.RetryPolicy(
        max_attempts=5, backoff=perdure.Fixed(HOUR), total_timeout=24 * HOUR
    )
    return await ctx.schedule_activity(double_next_time, x, retry=policy)


@app.orchestration
async def attempts(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Has an attempt under way that has a limit."""
    policy = perdure.RetryPolicy(max_attempts=5, attempt_timeout=24 * HOUR, total_timeout=48 * HOUR)
    return await ctx.schedule_activity(double_later, x, retry=policy)


@app.orchestration
async def again(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Continues as new, and carries an event over."""
    if x < 3:
        ctx.continue_as_new(x + 1)
    await ctx.schedule_wait("go")
    carried = await ctx.schedule_wait("carried", int)
    return x + carried


@app.orchestration
async def child(ctx: perdure.OrchestrationContext, x: int) -> int:
    await ctx.schedule_wait("go")
    return await ctx.schedule_activity(double, x)


@app.orchestration
async def parent(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Has two children, one under an id of its own choice, and starts another one."""
    ctx.schedule_orchestration(child, x, instance="detached")
    named = ctx.schedule_sub_orchestration(child, x, instance="child")
    failing = ctx.schedule_sub_orchestration(fails, "a child")
    with contextlib.suppress(perdure.SubOrchestrationFailed):
        await failing
    return await named


@app.orchestration
async def finds_it_taken(ctx: perdure.OrchestrationContext, x: int) -> str:
    """Asks for a child under an id that is in use."""
    try:
        await ctx.schedule_sub_orchestration(child, x, instance="waits")
    except perdure.SubOrchestrationAlreadyExists:
        await ctx.schedule_wait("go")
        return "taken"
    return "free"


@app.orchestration
async def fans_out(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Half of the work is done, half is queued."""
    tags = (None, "gpu")
    work = [ctx.schedule_activity(double, n, tag=tags[n % 2]) for n in range(x)]
    return sum(await asyncio.gather(*work))


@app.orchestration
async def cleans_up(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Is being cancelled, in the middle of its cleanup."""
    try:
        await ctx.schedule_wait("never")
    finally:
        await ctx.schedule_activity(double, x, tag="gpu")
    return x


@app.orchestration
async def drifts(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Parked: the code that ran last asks for something else than the code that began."""
    first = await ctx.schedule_activity(repeat if writing else double, str(x) if writing else x)
    await ctx.schedule_wait("go")
    return await ctx.schedule_activity(double, first)


@newer.orchestration
async def comes_later(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Parked: no runtime registers it."""
    return await ctx.schedule_activity(double, x)


@app.orchestration
async def calls_what_comes_later(ctx: perdure.OrchestrationContext, x: int) -> int:
    return await ctx.schedule_activity("double_newly", x, result_type=int)


@app.orchestration(name="versioned")
async def versioned_1(ctx: perdure.OrchestrationContext, x: int) -> str:
    await ctx.schedule_wait("go")
    return "1.0.0"


@newer.orchestration(name="versioned", version="2.0.0")
async def versioned_2(ctx: perdure.OrchestrationContext, x: int) -> str:
    await ctx.schedule_wait("go")
    return "2.0.0"


@app.orchestration
async def carries_much(ctx: perdure.OrchestrationContext, text: str) -> int:
    """Its input, a result and an event are large where that makes a difference."""
    once = await ctx.schedule_activity(repeat, text)
    twice = await ctx.schedule_wait("much", str)
    await ctx.schedule_wait("go")
    return len(text) + len(once) + len(twice)


@app.orchestration
async def fails(ctx: perdure.OrchestrationContext, message: str) -> None:
    try:
        await ctx.schedule_activity(fail, message)
    except perdure.ActivityFailed as error:
        raise RuntimeError("it went wrong") from error
