"""Activities that write in the transaction of their result, in a process that is killed too."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import perdure
import psycopg
import pytest
from perdure import ManualClock, activity_context
from perdure.contract import ActivityRelease, ActivityRequest
from perdure.errors import OrchestrationFailed
from perdure_conformance.crashes.transactions import run_killed

KILLS = int(os.environ.get("PERDURE_TRANSACTION_KILLS", "4"))
SEED = int(os.environ.get("PERDURE_SEED", "1"))
TAKE = ActivityRequest(
    token="another worker",  # noqa: S106 # of a lease
    limit=1,
    lease_for=timedelta(seconds=30),
    names=frozenset({"write"}),
    tags=frozenset({None}),
)


@pytest.fixture
def table(url, schema, execute):
    """A table of the application, with a column `key`."""
    execute(url, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.effects (key text)")
    return f"{schema}.effects"


@pytest.fixture
def insert(table):
    return f"INSERT INTO {table} VALUES (%s)"  # noqa: S608 # a name of this test


@pytest.fixture
def effects(url, table, execute):
    def read():
        rows = execute(url, f'SELECT key FROM {table} ORDER BY key COLLATE "C"')  # noqa: S608 # a name of this test
        return [key for (key,) in rows]

    return read


async def test_what_an_activity_wrote_is_there_exactly_if_its_result_is(url, insert, effects):
    app = perdure.Registry()

    @app.activity(transactional=True)
    async def write(key: str) -> str:
        await activity_context().connection.execute(insert, (key,))
        if key == "bad":
            raise ValueError(key)
        return key

    @app.activity(transactional=True)
    def write_in_thread(key: str) -> str:
        connection = activity_context().connection
        connection.execute(insert, (key,))
        with pytest.raises(psycopg.ProgrammingError, match="forbidden within a Transaction"):
            connection.commit()
        if key.startswith("worse"):
            raise ValueError(key)
        return key

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, key: str) -> str:
        await ctx.schedule_activity(write, key)
        return await ctx.schedule_activity(write_in_thread, f"{key} in a thread")

    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        good, bad, worse = [
            await client.start_orchestration(name, flow, name) for name in ("good", "bad", "worse")
        ]
        assert await good.result(20) == "good in a thread"
        for failed in (bad, worse):
            with pytest.raises(OrchestrationFailed, match="ValueError"):
                await failed.result(20)

    assert effects() == ["good", "good in a thread", "worse"]


async def test_an_activity_whose_lease_another_worker_has_taken_leaves_nothing(
    url, insert, effects
):
    app = perdure.Registry()
    later = ManualClock(datetime.now(UTC) + timedelta(hours=1))
    taken = []
    has_taken = asyncio.Event()

    @app.activity(transactional=True)
    async def write() -> None:
        key = "after the loss" if taken else "before the loss"
        await activity_context().connection.execute(insert, (key,))
        if not taken:
            taken.extend(await other.lease_activities(TAKE))
            has_taken.set()

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(write)

    async with (
        perdure.open_provider(url) as provider,
        perdure.open_provider(url, clock=later) as other,
    ):
        handle = await perdure.Client(provider).start_orchestration("a", flow)
        async with perdure.Runtime(provider, app):
            await has_taken.wait()
        # The runtime has ended, and so has the activity, whose result is refused.
        assert effects() == []
        await provider.release_activity(ActivityRelease(lease=taken[0].lease))
        async with perdure.Runtime(provider, app):
            await handle.result(20)

    assert effects() == ["after the loss"]


async def test_a_cancelled_activity_leaves_nothing(url, insert, effects):
    app = perdure.Registry()
    written = asyncio.Event()

    @app.activity(transactional=True)
    async def write() -> None:
        await activity_context().connection.execute(insert, ("cancelled",))
        written.set()
        await asyncio.Event().wait()

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(write)

    options = perdure.RuntimeOptions(cancel_grace=timedelta(0))
    async with (
        perdure.open_provider(url) as provider,
        perdure.Runtime(provider, app, options=options),
    ):
        handle = await perdure.Client(provider).start_orchestration("a", flow)
        await written.wait()
        await handle.cancel("enough")
        with pytest.raises(OrchestrationFailed, match="enough"):
            await handle.result(20)

    assert effects() == []


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * KILLS)
async def test_each_effect_is_there_once_however_often_the_process_is_killed(url, insert, effects):
    print(f"seed {SEED}")  # shown where it fails; PERDURE_SEED repeats the moments
    written = await run_killed(url, insert, kills=KILLS, seed=SEED)

    assert len(written) >= KILLS
    assert effects() == written
