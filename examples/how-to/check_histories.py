"""New code against old histories: replay what is stored, without running anything."""

import asyncio
from pathlib import Path

import perdure
from perdure.testing import Stage, check_histories, check_history


def deployment(*, edited: bool) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def charge(cents: int) -> str:
        return f"charged {cents}"

    @app.orchestration
    async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
        if edited:
            await ctx.schedule_activity("check", cents)
        receipt = await ctx.schedule_activity(charge, cents)
        await ctx.schedule_wait("shipped")
        return receipt

    return app


async def main() -> None:
    async with Stage(deployment(edited=False), url="sqlite:///live.db") as stage:
        client = stage.client
        await client.start_orchestration("pay-1", "pay", "500")
        await stage.settle()
        document = await client.export_history("pay-1")
        Path("pay-1.json").write_text(document.to_json(), "utf-8")

    print(await check_histories("sqlite:///live.db", deployment(edited=False)))
    report = await check_histories("sqlite:///live.db", deployment(edited=True))
    print(report)

    (found,) = report.disagreements
    assert found.disagreement is not None
    assert '"check"' in line_of(found.disagreement.where)
    check_history("pay-1.json", deployment(edited=False)).raise_if_disagrees()


def line_of(place: str) -> str:
    """The source at a place such as `orders:12 in pay`."""
    number = int(place.partition(":")[2].partition(" ")[0])
    return Path(__file__).read_text("utf-8").splitlines()[number - 1]


asyncio.run(main())
