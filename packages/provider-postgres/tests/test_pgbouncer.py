"""A pooler in transaction mode stands between: every statement may run on another connection.

`through_pgbouncer.py` plays the suite in this way.
"""

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure.contract import ChangeWait
from perdure_conformance.samples import new_instance

pytestmark = pytest.mark.slow

app = perdure.Registry()


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.orchestration
async def add_up(ctx: perdure.OrchestrationContext, count: int) -> int:
    calls = (ctx.schedule_activity(double, number) for number in range(count))
    return sum(await asyncio.gather(*calls))


@pytest.fixture
def through(url, pooler):
    """The URL of the same namespace through a pooler."""
    return f"{pooler.url}?namespace={url.rpartition('=')[2]}"


async def test_a_runtime_works_through_a_pooler_in_transaction_mode(url, through):
    async with perdure.open_provider(url):
        pass  # makes the schema

    async with (
        perdure.open_provider(f"{through}&notify=false") as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        sums = [await client.start_orchestration(f"sum-{n}", add_up, 10) for n in range(10)]

        assert await asyncio.gather(*(each.result(timeout=30) for each in sums)) == [90] * 10


async def test_news_come_past_the_pooler_by_a_connection_of_their_own(url, through, pooler):
    async with (
        perdure.open_provider(url) as there,
        perdure.open_provider(f"{through}&listen={pooler.server}") as here,
    ):
        wait = ChangeWait(instance="order", timeout=timedelta(seconds=30), exists=False)
        waiting = asyncio.ensure_future(here.wait_for_change(wait))
        await asyncio.sleep(0.2)
        await there.create_instance(new_instance("order"))

        async with asyncio.timeout(10):
            await waiting
