"""Changing code under running instances: an edit that fits, one that is parked, a new version."""

import asyncio

import perdure


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
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        old = await client.start_orchestration("pay-1", "pay", "500")
        async with perdure.Runtime(provider, deployment(check_first=False)):
            while (await client.get_execution_info("pay-1", 1)).event_count < 4:
                await asyncio.sleep(0.001)

        async with perdure.Runtime(provider, deployment(check_first=True)):
            await old.raise_event("shipped")
            while (parked := await parked_for(client, "pay-1")) is None:
                await asyncio.sleep(0.001)
            print(parked.reason, "-", parked.details)

        async with perdure.Runtime(provider, with_new_version()):
            assert await old.result(timeout=40) == "charged 500"
            new = await client.start_orchestration("pay-2", "pay", "700")
            await new.raise_event("shipped")
            assert await new.result(timeout=10) == "charged 700"
            assert (await client.get_instance_info("pay-2")).orchestration_version == "2.0.0"


async def parked_for(client: perdure.Client, instance: str) -> perdure.Parked | None:
    match await client.get_orchestration_status(instance):
        case perdure.Running(parked=parked):
            return parked
        case other:
            raise AssertionError(other)


asyncio.run(main())
