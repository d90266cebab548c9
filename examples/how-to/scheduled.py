"""Long-lived and scheduled work: a timer, a report every morning, a history that starts afresh."""

import asyncio
from datetime import datetime, timedelta

import perdure
from perdure.testing import Stage

app = perdure.Registry()
reports: list[str] = []


@app.activity
async def write_report(day: str) -> None:
    reports.append(day)


def next_morning(now: datetime) -> datetime:
    """Today or tomorrow at 06:00 UTC."""
    morning = now.replace(hour=6, minute=0, second=0, microsecond=0)
    return morning if morning > now else morning + timedelta(days=1)


@app.orchestration
async def every_morning(ctx: perdure.OrchestrationContext) -> None:
    due = next_morning(ctx.now())
    await ctx.schedule_timer(due)
    await ctx.schedule_activity(write_report, due.date().isoformat())
    ctx.continue_as_new()


@app.orchestration
async def account(ctx: perdure.OrchestrationContext, balance: int) -> int:
    for _ in range(3):  # some thousands in practice
        amount = await ctx.schedule_wait("booking", int)
        if amount == 0:
            return balance
        balance += amount
    ctx.continue_as_new(balance)


async def main() -> None:
    async with Stage(app, start=datetime.fromisoformat("2026-03-01T12:00:00Z")) as stage:
        await stage.client.start_orchestration("report", every_morning)
        await stage.until(lambda: len(reports) == 3)
        assert reports == ["2026-03-02", "2026-03-03", "2026-03-04"]
        await stage.client.cancel_instance("report", "no more reports")
        await stage.client.wait_for_orchestration("report")

        handle = await stage.client.start_orchestration("account-1", account, 0)
        for amount in (1, 2, 3, 4, 5, 0):
            await handle.raise_event("booking", str(amount))
        assert await handle.result() == 15
        assert await stage.client.list_executions("account-1") == [1, 2]


asyncio.run(main())
