"""Changing code under running instances: an edit that fits, one that is parked, a new version."""

import asyncio

import perdure
from perdure.testing import Stage


def deployment(*, check_first: bool) -> perdure.Registry:
    """The code of one deployment; `check_first` is an edit of the running version."""
    app = perdure.Registry()

    @app.activity(compare="strict")  # another amount for the same payment is never right
    async def charge(cents: int) -> str:
        return f"charged {cents}"

    @app.activity
    async def check(cents: int) -> None: ...

    @app.orchestration(name="pay", version="1.0.0")
    async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
        if check_first:
            await ctx.schedule_activity(check, cents)
        receipt = await ctx.schedule_activity(charge, cents)
        await ctx.schedule_wait("shipped")
        return receipt

    return app


def with_new_version() -> perdure.Registry:
    """The right way: the running version stays as it is, and the new one stands beside it."""
    app = deployment(check_first=False)

    @app.orchestration(name="pay", version="2.0.0")
    async def pay_2(ctx: perdure.OrchestrationContext, cents: int) -> str:
        await ctx.schedule_activity("check", cents)
        receipt = await ctx.schedule_activity("charge", cents, result_type=str)
        await ctx.schedule_wait("shipped")
        return receipt

    return app


async def main() -> None:
    async with Stage(deployment(check_first=False)) as stage:
        old = await stage.client.start_orchestration("pay-1", "pay", "500")
        await stage.settle()

        await stage.restart(deployment(check_first=True))
        await old.raise_event("shipped")
        await stage.settle()
        status = await old.status()
        assert isinstance(status, perdure.Running)
        assert status.parked is not None
        print(status.parked.reason, "-", status.parked.details)

        await stage.restart(with_new_version())
        await stage.until(lambda: has_ended(old))
        assert await old.result() == "charged 500"
        new = await stage.client.start_orchestration("pay-2", "pay", "700")
        await new.raise_event("shipped")
        assert await new.result() == "charged 700"
        assert (await stage.client.get_instance_info("pay-2")).orchestration_version == "2.0.0"


async def has_ended(handle: perdure.Handle[object]) -> bool:
    return not isinstance(await handle.status(), perdure.Running)


asyncio.run(main())
