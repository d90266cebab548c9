"""The tables stay as large as what they hold: short instances come and go, and their space is used again.

`PERDURE_RETENTION_INSTANCES` is the number of instances; `nox -s retention` runs many. The tables are
vacuumed between the waves, as autovacuum does it in its own time.
"""

import asyncio
import itertools
import os
from collections import deque
from datetime import timedelta

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, Serves, TurnRequest
from perdure.providers.loader import open_provider
from perdure_conformance.samples import commit_of, incarnation_of, new_instance

INSTANCES = int(os.environ.get("PERDURE_RETENTION_INSTANCES", "600"))
WAVE = 50
KEPT = 4
"""How many waves are kept after their end."""
FULL = 2 * KEPT
"""After so many waves the tables hold what they will hold from then on."""
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
EVENTS = tuple(b'{"kind":"ActivityCompleted","result":"%d"}' % number for number in range(9))
SIZE = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relnamespace = %s::regnamespace AND relkind = 'r'
"""
TABLES = "instances", "turns", "messages", "activities", "events", "executions", "labels"


async def run(provider, names, tokens):
    """Let these instances start, and end in their first turn."""
    await asyncio.gather(*(provider.create_instance(new_instance(name)) for name in names))
    ended = 0
    while ended < len(names):
        request = TurnRequest(
            token=next(tokens),
            limit=WAVE,
            lease_for=timedelta(seconds=30),
            serves=Serves(orchestrations={"flow": frozenset()}),
        )
        turns = await provider.lease_turns(request)
        commits = (commit_of(turn, events=EVENTS, end=COMPLETED) for turn in turns)
        await asyncio.gather(*map(provider.commit_turn, commits))
        ended += len(turns)


async def delete(provider, names):
    deletions = (provider.delete_instance(each, incarnation=incarnation_of(each)) for each in names)
    assert all(await asyncio.gather(*deletions))


@pytest.mark.slow
@pytest.mark.timeout(0 if INSTANCES > 10_000 else 120)
async def test_the_tables_stay_flat_while_instances_come_and_go(
    postgres_url, schema, connect, clock
):
    url = f"{postgres_url}&schema={schema}&durability=normal"
    kept, sizes = deque(), []
    tokens = (f"token-{number}" for number in itertools.count())
    async with open_provider(url, clock=clock) as provider:
        with connect(url) as connection:
            for number in range(INSTANCES // WAVE):
                # As long as each other, so that what an instance takes is the same.
                kept.append([f"order-{number:06}-{each:02}" for each in range(WAVE)])
                await run(provider, kept[-1], tokens)
                if len(kept) > KEPT:
                    await delete(provider, kept.popleft())
                for table in TABLES:
                    connection.execute(f"VACUUM {schema}.{table}")
                sizes.append(connection.execute(SIZE, (schema,)).fetchone()[0])
            for wave in kept:
                await delete(provider, wave)
            rows = connection.execute(f"SELECT count(*) FROM {schema}.instances").fetchone()  # noqa: S608 # a name of this test

    assert rows == (0,)
    assert max(sizes[FULL:]) <= 1.25 * sizes[FULL]
