"""Long-lived and scheduled work: a timer, a report every morning, a history that starts afresh."""

import asyncio
from datetime import datetime, timedelta

import perdure

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


async def until_it_sleeps(client: perdure.Client, instance: str, execution: int) -> None:
    while (await client.list_executions(instance))[-1] < execution:
        await asyncio.sleep(0.001)
    while (await client.get_execution_info(instance, execution)).event_count < 2:
        await asyncio.sleep(0.001)


async def main() -> None:
    clock = perdure.ManualClock(datetime.fromisoformat("2026-03-01T12:00:00Z"))
    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        await client.start_orchestration("report", every_morning)
        for day in (1, 2, 3):
            await until_it_sleeps(client, "report", day)
            clock.advance(timedelta(days=1))
        await until_it_sleeps(client, "report", 4)
        assert reports == ["2026-03-02", "2026-03-03", "2026-03-04"]
        await client.cancel_instance("report", "no more reports")
        await client.wait_for_orchestration("report")

        handle = await client.start_orchestration("account-1", account, 0)
        for amount in (1, 2, 3, 4, 5, 0):
            await client.raise_event("account-1", "booking", str(amount))
        assert await handle.result() == 15
        assert await client.list_executions("account-1") == [1, 2]


asyncio.run(main())
