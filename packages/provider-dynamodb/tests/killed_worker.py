"""A worker process of `test_killed_workers`: runs until it is killed, and writes down what it did."""

import asyncio
import os
import sys
from datetime import timedelta

import perdure

app = perdure.Registry()
LEASE = timedelta(seconds=5)


@app.activity
async def step(number: int) -> int:
    context = perdure.activity_context()
    await asyncio.sleep(0.02)
    with open(os.environ["PERDURE_TEST_LEDGER"], "a", encoding="utf-8") as ledger:  # noqa: ASYNC230
        ledger.write(f"{context.instance} {number} {context.idempotency_key}\n")
    return number + 1


@app.orchestration
async def steps(ctx: perdure.OrchestrationContext, number: int) -> int:
    first = await ctx.schedule_activity(step, number)
    several = await asyncio.gather(*(ctx.schedule_activity(step, first + n) for n in range(3)))
    await ctx.schedule_timer(timedelta(milliseconds=300))
    return await ctx.schedule_activity(step, sum(several))


async def main():
    options = perdure.RuntimeOptions(turn_lease=LEASE, activity_lease=LEASE)
    async with (
        perdure.open_provider(sys.argv[1]) as provider,
        perdure.Runtime(provider, app, options=options),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
