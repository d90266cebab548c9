"""A failed instance runs again, one goes back to an earlier event, and a copy goes its own way."""

import asyncio

import perdure
from perdure import history

app = perdure.Registry()
rates = {"USD": 0.5}
bookings: dict[str, int] = {}


@app.activity
async def fetch_rate(currency: str) -> float:
    if currency not in rates:
        raise ConnectionError(f"no rate for {currency}")
    return rates[currency]


@app.activity
async def book(cents: int) -> int:
    """A bank that books by key: what it has booked under a key it does not book again."""
    return bookings.setdefault(perdure.activity_context().idempotency_key, cents)


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, cents: int, currency: str) -> float:
    booked = await ctx.schedule_activity(book, cents)
    return booked * await ctx.schedule_activity(fetch_rate, currency)


async def retry(client: perdure.Client) -> None:
    payment = await client.start("pay-1", pay)(500, "CHF")
    assert isinstance(await payment.wait(timeout=10), perdure.Failed)

    rates["CHF"] = 0.9  # the service is back
    await client.retry_instance("pay-1", reason="the rate service was away")
    assert await payment.result(timeout=10) == 450
    assert len(bookings) == 1  # the booking is recorded, and was kept


async def rewind(client: perdure.Client) -> None:
    payment = await client.start("pay-2", pay)(500, "USD")
    assert await payment.result(timeout=10) == 250

    rates["USD"] = 0.8  # the rate was wrong
    events = await client.read_execution_history("pay-2", 1)
    booked = next(event for event in events if isinstance(event, history.ActivityCompleted))
    await client.rewind_instance("pay-2", to_event=booked.event_id, reason="a wrong rate")
    assert await payment.result(timeout=10) == 400

    assert await client.list_executions("pay-2") == [1, 2]
    first = (await client.read_execution_history("pay-2", 2))[0]
    assert isinstance(first, history.OrchestrationStarted)
    assert first.copied_from is not None
    assert (first.copied_from.execution, first.copied_from.reason) == (1, "a wrong rate")


async def fork(client: perdure.Client) -> None:
    booked = len(bookings)
    copy = await client.fork_instance("pay-2", "what-if", reason="with the rate of today")
    assert await copy.result(timeout=10) == 400.0
    assert len(bookings) == booked  # what is copied is not done again


async def terminate(client: perdure.Client) -> None:
    waiting = await client.start_orchestration("wait-1", wait_for_ever)
    await client.terminate_instance("wait-1", "started by mistake")
    status = await waiting.status()
    assert isinstance(status, perdure.Failed)
    assert status.details.display_message() == "terminated: started by mistake"


@app.orchestration
async def wait_for_ever(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_wait("never")


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        await retry(client)
        await rewind(client)
        await fork(client)
        await terminate(client)


asyncio.run(main())
