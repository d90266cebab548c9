"""An activity that books each call: the crash that books twice is found."""

import asyncio

import perdure
from perdure.testing import NotSurvived, survive

app = perdure.Registry()


class Bank:
    """The resources of the activity, which ought to book each idempotency key once."""

    def __init__(self) -> None:
        self.entries: list[int] = []


@app.activity
async def book(cents: int) -> None:
    perdure.activity_context(Bank).resources.entries.append(cents)


@app.orchestration
async def deposit(ctx: perdure.OrchestrationContext, cents: int) -> None:
    await ctx.schedule_activity(book, cents)


async def main() -> None:
    try:
        await survive(app, deposit, 500, resources=Bank, effects=lambda bank: bank.entries)
    except NotSurvived as found:
        what, where, *history = str(found).splitlines()
        print(what, where, sep="\n")
        assert history[0] == "  history of 'deposit-1':"


asyncio.run(main())
