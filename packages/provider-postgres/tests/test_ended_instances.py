"""What is stored of ended instances costs new ones nothing: counted in the pages that a call reads."""

import re
from collections import defaultdict

import perdure
import psycopg
import pytest
from perdure.contract import ProviderUrl
from perdure.providers.loader import open_provider
from perdure_postgres import PostgresOptions
from perdure_postgres._database import Database

ENDED = 3000
COPY = """
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values} FROM {table} AS row, generate_series(1, {count}) AS copy WHERE row.{key} = {number}
"""
KEYS = {"instances": "number", "turns": "number", "executions": "instance", "events": "instance"}

app = perdure.Registry()


@app.activity
async def greet(name: str) -> str:
    return f"hello {name}"


@app.orchestration
async def greeting(ctx: perdure.OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(greet, name)


class Pages:
    """Counts, for each function of the database, the pages that a call reads at most.

    Each statement of the provider is explained first, in a transaction that is rolled back.
    """

    def __init__(self, connection, monkeypatch):
        self.most = defaultdict(int)
        self._connection = connection
        run = Database._run

        async def explained(database, statement, parameters):
            if match := re.search(r"FROM \S+\.(\w+)\(", statement):
                self._explain(match.group(1), statement, parameters)
            return await run(database, statement, parameters)

        monkeypatch.setattr(Database, "_run", explained)

    def _explain(self, function, statement, parameters):
        with self._connection.transaction(force_rollback=True):
            cursor = self._connection.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
            )
            [([explained],)] = cursor.fetchall()
        plan = explained["Plan"]
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.most[function] = max(self.most[function], pages)

    def take(self):
        most, self.most = dict(self.most), defaultdict(int)
        return most


def store_ended(connection, schema, instance, count):
    """Store copies of an ended instance."""
    [(number,)] = connection.execute(
        f'SELECT number FROM "{schema}".instances WHERE id = %s',  # noqa: S608 # our own name
        (instance,),
    )
    [(last, *_)] = connection.execute(f'TABLE "{schema}".instances ORDER BY number DESC LIMIT 1')
    for table, key in KEYS.items():
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_schema = %s AND table_name = %s",
                (schema, table),
            )
        ]
        values = {key: f"{last} + copy", "id": "'old-' || copy"}
        connection.execute(
            COPY.format(
                table=f'"{schema}".{table}',
                columns=", ".join(columns),
                values=", ".join(values.get(name, f"row.{name}") for name in columns),
                count=count,
                key=key,
                number=number,
            )
        )
    connection.execute(
        f"""SELECT setval(pg_get_serial_sequence('"{schema}".instances', 'number'), %s)""",
        (last + count,),
    )


@pytest.mark.slow
async def test_no_call_of_an_orchestration_reads_more_pages_beside_many_ended_ones(
    url, clock, monkeypatch
):
    schema = url.rpartition("namespace=")[2]
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    async with open_provider(f"{url}&schema={schema}", clock=clock) as provider:
        with psycopg.connect(**conninfo, autocommit=True) as connection:
            client = perdure.Client(provider)
            pages = Pages(connection, monkeypatch)
            async with perdure.Runtime(provider, app):

                async def run(name):
                    handle = await client.start_orchestration(name, greeting, "you")
                    assert await handle.result(timeout=30) == "hello you"
                    await client.raise_event(f"{name}-later", "go", "1")
                    state = await provider.read_instance(name)
                    await provider.read_history(name, 1, incarnation=state.incarnation)
                    await provider.read_values(name)
                    await provider.prune_executions(name, incarnation=state.incarnation, before=1)
                    await provider.delete_instance(name, incarnation="another")

                # The plans are made while the tables are empty, which is when they are worst.
                for number in range(3):
                    await run(f"early-{number}")
                pages.take()
                await run("beside few")
                few = pages.take()
                store_ended(connection, schema, "early-0", ENDED)
                await run("beside many")
                many = pages.take()
            connection.execute(f'DROP SCHEMA "{schema}" CASCADE')

    assert {"write", "lease_turns", "read_instances", "read_events", "read_values"} <= many.keys()
    # Indexes are a level deeper; a call that read all rows of the namespace would read 600 more.
    assert all(pages < few[function] + 100 for function, pages in many.items()), (few, many)
