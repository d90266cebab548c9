"""The server finds rows by their keys, however little it knows of the tables."""

import itertools
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    ProviderUrl,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.providers.loader import open_provider
from perdure_conformance.samples import AGAIN, commit_of, event, new_instance, result, work
from perdure_postgres import PostgresOptions

SETTINGS = """
SET search_path = perdure;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET enable_material = off; SET join_collapse_limit = 1; SET plan_cache_mode = force_generic_plan;
"""
FINDING = """
PREPARE finding(int, jsonb) AS
SELECT t.number FROM jsonb_to_recordset($2) AS r(instance text)
JOIN LATERAL find_instance($1, r.instance) AS i ON true
JOIN turns AS t ON t.number = i.number
"""


@pytest.mark.slow
async def test_an_instance_is_found_by_its_id_and_not_by_reading_its_namespace(url):
    async with open_provider(url):
        pass
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    with psycopg.connect(**conninfo, autocommit=True) as connection:
        connection.execute(SETTINGS)
        connection.execute(FINDING)
        lines = connection.execute("EXPLAIN EXECUTE finding(1, '[]')").fetchall()
    plan = "\n".join(line for (line,) in lines)

    # By the id too: on a condition for the namespace alone, every call would read all of it.
    assert "(namespace = $1) AND (id = " in plan, plan
    assert "Materialize" not in plan


FOREIGN = 8000
"""So many rows that a call which reads a whole table or index touches thousands of pages."""
FEW = 300
TABLES = {
    "instances": "'number', -n, 'id', -n",
    "turns": "'number', -n, 'queue', -1",
    "activities": "'instance', -n, 'queue', -1",
    **dict.fromkeys(
        ("messages", "executions", "events", "custom_statuses", "instance_values"), "'instance', -n"
    ),
}
COPY = """
INSERT INTO {schema}.{table} OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(l.row, jsonb_build_object({own}))).*
FROM (SELECT r AS row FROM {schema}.{table} AS r LIMIT 1) AS l, generate_series(1, {count}) AS n
"""
LEASE = timedelta(seconds=30)


class Pages:
    """Runs each call also on a connection of the test's own, and counts the pages that it touches."""

    def __init__(self, provider, connection):
        self.most = Counter()
        self._fetch = provider.database.fetch
        self._connection = connection
        provider.database.fetch = self._counted

    async def _counted(self, operation, statement, parameters, *, repeatable):
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        with self._connection.transaction(force_rollback=True):
            [(plans,)] = self._connection.execute(explained, parameters).fetchall()
        touched = plans[0]["Plan"]["Shared Hit Blocks"] + plans[0]["Plan"]["Shared Read Blocks"]
        self.most[operation] = max(self.most[operation], touched)
        return await self._fetch(operation, statement, parameters, repeatable=repeatable)


async def live(provider, name):
    """Make an instance go through what there is; some of it stays."""

    async def lease():
        serves = Serves(orchestrations={"flow": frozenset()})
        token = f"{name}-{next(numbers)}"
        request = TurnRequest(token=token, limit=1, lease_for=LEASE, serves=serves)
        [turn] = await provider.lease_turns(request)
        return turn

    async def lease_work():
        request = ActivityRequest(
            token=f"{name}-{next(numbers)}", limit=1, lease_for=LEASE, names=frozenset({"work"})
        )
        [activity] = await provider.lease_activities(request)
        return activity

    numbers = itertools.count()
    await provider.create_instance(new_instance(name))
    turn = await lease()
    await provider.renew_turns([TurnLease(instance=name, token=turn.token)], lease_for=LEASE)
    added = (work("1:1", lease=True), work("1:2"), work("1:3", name="idle"))
    answer = await provider.commit_turn(
        commit_of(
            turn,
            events=(b"one", b"two"),
            add=added,
            activity_token="mine",  # noqa: S106 # no secret
            activity_lease_for=LEASE,
            custom_status=b"status",
            values={"key": b"value"},
            keep_for=LEASE,
        )
    )
    assert answer.lease_until is not None
    mine = ActivityLease(instance=name, activity="1:1", token="mine")  # noqa: S106 # no secret
    await provider.renew_activities([mine], lease_for=LEASE)
    state = await provider.read_instance(name)
    turn = replace(turn, state=state, messages=())
    await provider.commit_turn(commit_of(turn, events=(b"three",), finish=(mine,)))
    activity = await lease_work()
    await provider.release_activity(ActivityRelease(lease=activity.lease, counted=False))
    activity = await lease_work()
    await provider.complete_activity(
        ActivityCompletion(lease=activity.lease, message=result("1:2", name))
    )
    turn = await lease()
    await provider.release_turn(
        TurnRelease(lease=TurnLease(instance=name, token=turn.token), counted=False)
    )
    turn = await lease()
    await provider.commit_turn(commit_of(turn, events=(b"four",), end=AGAIN, keep_for=LEASE))
    await provider.send([event("early", name)])
    await provider.read_history(name, 1, incarnation=turn.state.incarnation)
    await provider.read_values(name)


INDEXES = """
SELECT x.indexrelid::regclass::text, x.indrelid::regclass::text, quote_ident(c.conname),
       coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(x.indexrelid))
FROM pg_index AS x LEFT JOIN pg_constraint AS c ON c.conindid = x.indexrelid
WHERE x.indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = %s::regnamespace)
ORDER BY x.indexrelid DESC
"""


def turn_round(connection, schema):
    """Make the indexes in the other order, as a restored dump or a concurrent rebuild may do."""
    indexes = connection.execute(INDEXES, (schema,)).fetchall()
    assert len(indexes) > 15
    for name, table, constraint, _ in indexes:
        connection.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"
            if constraint
            else f"DROP INDEX {name}"
        )
    for _, table, constraint, definition in indexes:
        connection.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition}"
            if constraint
            else definition
        )


@pytest.mark.slow
@pytest.mark.parametrize("order", ["as they were made", "the other way round"])
async def test_no_call_reads_a_whole_table_that_was_empty_when_it_was_planned(
    order, postgres_url, schema, connect, clock
):
    url = f"{postgres_url}&schema={schema}"
    async with open_provider(url, clock=clock):
        pass  # makes the schema
    with connect(url) as connection:
        if order == "the other way round":
            turn_round(connection, schema)
        # A vacuum of empty tables tells the planner that they are.
        for table in (*TABLES, "labels", "removals"):
            connection.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = false)")
            connection.execute(f"VACUUM ANALYZE {schema}.{table}")
        async with open_provider(url, clock=clock) as provider:
            pages = Pages(provider, connection)
            await live(provider, "planned")
            for table, own in TABLES.items():
                connection.execute(COPY.format(schema=schema, table=table, own=own, count=FOREIGN))
            lives = []
            for name in ("one", "two", "three"):
                pages.most = Counter()
                await live(provider, name)
                lives.append(pages.most)

    # A plan that the server makes once more, for whatever reason, reads what it knows of the tables.
    least = {call: min(most[call] for most in lives) for call in lives[0]}
    assert len(least) >= 12
    assert {call: count for call, count in least.items() if count > FEW} == {}
