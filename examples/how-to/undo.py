"""Undoing work: after a failure, and after a cancellation in the middle of a step."""

import asyncio

import perdure

app = perdure.Registry()
booked: list[str] = []


@app.activity
async def book_flight(trip: str) -> str:
    await asyncio.sleep(0.1)  # the airline takes its time
    booked.append(f"flight {trip}")
    return f"flight {trip}"


@app.activity
async def book_hotel(trip: str) -> str:
    if trip == "Atlantis":
        raise ValueError("no hotel there")
    booked.append(f"hotel {trip}")
    return f"hotel {trip}"


@app.activity
async def give_back(booking: str) -> None:
    if booking in booked:  # undoing what was never done does nothing
        booked.remove(booking)


@app.orchestration
async def travel(ctx: perdure.OrchestrationContext, trip: str) -> str:
    steps: list[tuple[asyncio.Future[str], str]] = []
    try:
        for activity, booking in ((book_flight, f"flight {trip}"), (book_hotel, f"hotel {trip}")):
            work = ctx.schedule_activity(activity, trip, cancellation="wait")
            steps.append((work, booking))
            await work
        await ctx.schedule_wait("traveller is back")
    except (asyncio.CancelledError, Exception):
        for work, booking in reversed(steps):
            if await was_begun(work):
                policy = perdure.RetryPolicy(max_attempts=None)
                await ctx.schedule_activity(give_back, booking, retry=policy)
        raise
    return trip


async def was_begun(work: asyncio.Future[str]) -> bool:
    """Wait for the outcome; a failed step may have taken effect, its answer lost."""
    try:
        await work
    except asyncio.CancelledError:
        return False  # it was cancelled before it began
    except perdure.ActivityFailed:
        return True
    return True


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)

        failed = await client.start_orchestration("trip-1", travel, "Atlantis")
        match await failed.wait(timeout=10):
            case perdure.Failed(details=details):
                assert "no hotel there" in details.display_message()
            case perdure.Completed():
                raise AssertionError("there is no such hotel")
        assert booked == []

        cancelled = await client.start_orchestration("trip-2", travel, "Lisbon")
        await asyncio.sleep(0.05)  # the airline is booking
        await cancelled.cancel("changed my mind")
        match await cancelled.wait(timeout=10):
            case perdure.Failed(details=details):
                assert details.display_message() == "canceled: changed my mind"
            case perdure.Completed():
                raise AssertionError("it was cancelled")
        assert booked == []


asyncio.run(main())
