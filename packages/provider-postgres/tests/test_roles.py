"""Each role has just the grants of the documents, and does its part: one migrates, one works, one asks."""

import asyncio
from datetime import timedelta

import perdure
import psycopg
import pytest
from perdure.contract import Serves, TurnRequest
from perdure.errors import StorageFailed
from perdure_postgres.__main__ import main
from perdure_postgres._schema.migrations import grants

app = perdure.Registry()


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.orchestration
async def add_up(ctx: perdure.OrchestrationContext, count: int) -> int:
    calls = (ctx.schedule_activity(double, number) for number in range(count))
    return sum(await asyncio.gather(*calls)) + await ctx.schedule_wait("more", int)


@pytest.fixture
def roles(postgres_url, schema, execute):
    """A role that migrates, a worker and a client, with the grants of the documents."""
    names = {part: f"{part}_{schema}" for part in ("owner", "worker", "client")}
    execute(
        postgres_url,
        *(f"CREATE ROLE {name} LOGIN" for name in names.values()),
        f"GRANT CREATE ON DATABASE postgres TO {names['owner']}",
    )
    plain = f"{postgres_url.replace('&create=true', '')}&schema={schema}"
    urls = {part: plain.replace("postgres@", f"{name}@") for part, name in names.items()}
    yield names, urls
    execute(
        postgres_url,
        *(f"DROP OWNED BY {name} CASCADE" for name in names.values()),
        *(f"DROP ROLE {name}" for name in names.values()),
    )


@pytest.mark.slow
async def test_each_role_does_its_part_and_is_refused_what_it_does_not_need(
    roles, schema, execute, capsys
):
    names, urls = roles
    assert await asyncio.to_thread(main, ["migrate", urls["owner"]]) == 0
    execute(urls["owner"], *grants(schema, names["worker"]))
    execute(urls["owner"], *grants(schema, names["client"], client_only=True))

    async with (
        perdure.open_provider(urls["worker"]) as at_work,
        perdure.Runtime(at_work, app),
        perdure.open_provider(urls["client"]) as asking,
    ):
        client = perdure.Client(asking)
        handle = await client.start_orchestration("sum", add_up, 4)
        await client.raise_event("sum", "more", "30")
        assert await handle.result(timeout=30) == 42
        assert len(await client.list_instances()) == 1
        await client.delete_instance("sum")

    async with perdure.open_provider(urls["client"]) as provider:
        with pytest.raises(StorageFailed, match="lacks a grant"):
            await provider.lease_turns(
                TurnRequest(
                    token="token",  # noqa: S106 # no secret
                    limit=1,
                    lease_for=timedelta(seconds=30),
                    serves=Serves(orchestrations={"add_up": frozenset()}),
                )
            )
    refused = {
        "worker": [f"DELETE FROM {schema}.events", f"DROP FUNCTION {schema}.schema_state()"],  # noqa: S608 # a name of this test
        "client": [f"SELECT data FROM {schema}.events", f"CREATE TABLE {schema}.own (n int)"],  # noqa: S608 # a name of this test
        "owner": ["CREATE ROLE another", "CREATE DATABASE another"],
    }
    for part, statements in refused.items():
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                execute(urls[part], statement)
