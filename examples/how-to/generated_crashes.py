"""A deposit under crashes that Hypothesis generates."""

import asyncio

import perdure
from hypothesis import given, settings
from perdure.testing import Crash, strategies, survive

app = perdure.Registry()


class Bank:
    """The resources of the activity: it books each idempotency key once."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}


def booked(bank: Bank) -> list[int]:
    return list(bank.entries.values())


@app.activity
async def book(cents: int) -> None:
    context = perdure.activity_context(Bank)
    context.resources.entries[context.idempotency_key] = cents


@app.orchestration
async def deposit(ctx: perdure.OrchestrationContext, cents: int) -> None:
    await ctx.schedule_activity(book, cents)


@settings(max_examples=5, deadline=None)
@given(crashes=strategies.crashes())
def test_a_deposit_survives(crashes: list[Crash]) -> None:
    asyncio.run(survive(app, deposit, 500, resources=Bank, effects=booked, crashes=crashes))


test_a_deposit_survives()
