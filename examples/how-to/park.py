"""An error of the code parks the instance instead of ending it; repaired code goes on."""

import asyncio
from datetime import timedelta

import perdure

broken = perdure.Registry()
mended = perdure.Registry()


@broken.activity
@mended.activity
async def charge(cents: int) -> str:
    return f"receipt for {cents}"


@broken.orchestration(name="pay", park_on=(TypeError, KeyError))
async def pay_broken(ctx: perdure.OrchestrationContext, cents: int) -> str:
    receipt = await ctx.schedule_activity(charge, cents)
    return receipt + cents  # type: ignore[operator] # raises TypeError


@mended.orchestration(name="pay", park_on=(TypeError, KeyError))
async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
    receipt = await ctx.schedule_activity(charge, cents)
    return f"{receipt}, {cents} cents"


async def main() -> None:
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, broken):
            payment = await client.start_orchestration("pay-1", pay, 500)
            while (info := await client.get_instance_info("pay-1")).parked is None:
                await asyncio.sleep(0.001)
        assert info.parked.reason == "raised"

        async with perdure.Runtime(provider, mended):
            clock.advance(timedelta(minutes=1))
            assert await payment.result(timeout=None) == "receipt for 500, 500 cents"


asyncio.run(main())
