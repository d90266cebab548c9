"""Activities that write in the transaction of their result, in a process that is killed too."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing

import perdure
import pytest
from perdure import activity_context
from perdure.errors import CapabilityMissing, OrchestrationFailed, PerdureError

app = perdure.Registry()
INSERT = "INSERT INTO effects VALUES (?)"


@app.activity(transactional=True)
async def write(key: str) -> str:
    activity_context().connection.execute(INSERT, (key,))
    if key == "bad":
        raise ValueError(key)
    return key


@app.activity(transactional=True)
def write_in_thread(key: str) -> str:
    connection = activity_context().connection
    connection.execute(INSERT, (key,))
    with pytest.raises(PerdureError, match="return from the function to commit"):
        connection.commit()
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        connection.execute("COMMIT")
    return key


@app.orchestration
async def flow(ctx: perdure.OrchestrationContext, key: str) -> str:
    await ctx.schedule_activity(write, key)
    return await ctx.schedule_activity(write_in_thread, f"{key} in a thread")


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE effects (key TEXT)")
    return file


def effects(file):
    with closing(sqlite3.connect(file)) as connection:
        return sorted(key for (key,) in connection.execute("SELECT key FROM effects"))


async def test_what_an_activity_wrote_is_there_exactly_if_its_result_is(file):
    async with (
        perdure.open_provider(f"sqlite:///{file}") as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        good = await client.start_orchestration("good", flow, "good")
        bad = await client.start_orchestration("bad", flow, "bad")
        assert await good.result(20) == "good in a thread"
        with pytest.raises(OrchestrationFailed, match="ValueError: bad"):
            await bad.result(20)

    assert effects(file) == ["good", "good in a thread"]


async def test_a_runtime_without_transactions_refuses_to_start_by_name():
    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(CapabilityMissing, match="activity 'write' at .*'transactions'"):
            async with perdure.Runtime(provider, app):
                pass


KILLED = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
import perdure
from perdure import activity_context

file, kills = sys.argv[1], Path(sys.argv[2])
app = perdure.Registry()

@app.activity(transactional=True)
async def write(key: str) -> str:
    connection = activity_context().connection
    connection.execute("INSERT INTO effects VALUES (?)", (key,))
    done = len(list(kills.iterdir()))
    if done < int(sys.argv[3]):
        (kills / str(done)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return key

@app.orchestration
async def flow(ctx: perdure.OrchestrationContext, key: str) -> str:
    for number in range(3):
        await ctx.schedule_activity(write, f"{key}-{number}")
    return key

async def main():
    options = perdure.RuntimeOptions(
        activity_lease=timedelta(seconds=0.5), turn_lease=timedelta(seconds=0.5), max_attempts=1000
    )
    async with perdure.open_provider(f"sqlite:///{file}") as provider:
        client = perdure.Client(provider)
        handle = await client.start_orchestration("a", flow, "a", if_exists="return")
        async with perdure.Runtime(provider, app, options=options):
            await handle.result(30)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_each_effect_is_there_once_however_often_the_process_is_killed(file, tmp_path):
    kills = tmp_path / "kills"
    kills.mkdir()
    command = [sys.executable, "-c", KILLED, str(file), str(kills), "4"]
    for _ in range(10):
        ended = await asyncio.to_thread(subprocess.run, command, check=False)
        if ended.returncode == 0:
            break

    assert ended.returncode == 0
    assert len(list(kills.iterdir())) == 4
    assert effects(file) == ["a-0", "a-1", "a-2"]
