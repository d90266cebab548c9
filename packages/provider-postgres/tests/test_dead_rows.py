"""A transaction that stays open elsewhere keeps vacuum away; a look for work does not walk over what is left."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from perdure.contract import (
    ActivityRelease,
    ActivityRequest,
    NewActivity,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.providers.loader import open_provider
from perdure_conformance.samples import commit_of, new_instance
from perdure_postgres import _heads

DEAD = 8000
"""So many that a look which walks over them touches more than a hundred pages."""
FEW, MANY = 80, 120
LEASE = timedelta(seconds=30)
SECOND = 1_000_000
LEAVE_DEAD_ROWS = """
INSERT INTO perdure.{table} SELECT (jsonb_populate_record(
    r, jsonb_build_object('{own}', '-' || age, 'ready_at', r.ready_at - age * 1000000::bigint)
)).* FROM perdure.{table} AS r, generate_series({dead}, 1, -1) AS age WHERE r.{key} = {number};
DELETE FROM perdure.{table} WHERE {own}::text LIKE '-%';
"""
ROW = """
SELECT r.{key} FROM perdure.{table} AS r JOIN perdure.instances AS i ON i.number = r.{key}
WHERE i.id = '{instance}'
"""


class Turns:
    """Leases a turn, and gives it back."""

    table, key, own, operation = "turns", "number", "number", "lease_turns"

    def __init__(self, provider):
        self._provider = provider
        self._count = 0

    async def make(self, instance):
        await self._provider.create_instance(new_instance(instance))

    async def lease(self):
        self._count += 1
        request = TurnRequest(
            token=f"token-{self._count}",
            limit=1,
            lease_for=LEASE,
            serves=Serves(orchestrations={"flow": frozenset()}),
        )
        return list(await self._provider.lease_turns(request))

    async def look(self):
        leased = await self.lease()
        for turn in leased:
            lease = TurnLease(instance=turn.state.instance, token=turn.token)
            await self._provider.release_turn(TurnRelease(lease=lease, counted=False))
        return [turn.state.instance for turn in leased]


class Activities(Turns):
    """Leases an activity, and gives it back."""

    table, key, own, operation = "activities", "instance", "id", "lease_activities"

    async def make(self, instance):
        await super().make(instance)
        [turn] = await self.lease()
        work = NewActivity(id="1:1", name="work", data=b"")
        await self._provider.commit_turn(commit_of(turn, add=(work,)))

    async def look(self):
        self._count += 1
        request = ActivityRequest(
            token=f"token-{self._count}", limit=1, lease_for=LEASE, names=frozenset({"work"})
        )
        leased = await self._provider.lease_activities(request)
        for each in leased:
            await self._provider.release_activity(ActivityRelease(lease=each.lease, counted=False))
        return [each.instance for each in leased]


class Pages:
    """Counts the pages that each look for work of a provider object touches."""

    def __init__(self, provider, connection, operation):
        self.touched = []
        self._fetch = provider.database.fetch
        self._connection = connection
        self._operation = operation
        provider.database.fetch = self._counted

    async def _counted(self, operation, statement, parameters, *, repeatable):
        if operation == self._operation:
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            with self._connection.transaction(force_rollback=True):
                [(plans,)] = self._connection.execute(explained, parameters).fetchall()
            plan = plans[0]["Plan"]
            self.touched.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        return await self._fetch(operation, statement, parameters, repeatable=repeatable)


@pytest.fixture(params=[Turns, Activities], ids=["turns", "activities"])
def kind(request):
    return request.param


@pytest.mark.slow
async def test_what_a_look_touches_is_bounded_while_a_transaction_elsewhere_keeps_dead_rows(
    kind, url, clock, connect, monkeypatch
):
    seconds = [0.0]
    monkeypatch.setattr(_heads, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    name = url.rpartition("=")[2]
    with connect(url) as connection, connect(url) as elsewhere:
        async with open_provider(url, clock=clock) as provider:
            work = kind(provider)
            await work.make(name)
            row = ROW.format(table=work.table, key=work.key, instance=name)
            pages = Pages(provider, connection, work.operation)
            # The first one plans.
            assert [await work.look() for _ in range(2)] == [[name]] * 2
            with elsewhere.transaction():
                elsewhere.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                elsewhere.execute("SELECT count(*) FROM perdure.instances")
                [(number,)] = connection.execute(row).fetchall()
                leave = {"table": work.table, "key": work.key, "own": work.own, "number": number}
                connection.execute(LEAVE_DEAD_ROWS.format(dead=DEAD, **leave))
                looks = [await work.look() for _ in range(4)]

                assert looks == [[name]] * 4
                _, before, first, *others = pages.touched
                assert before <= FEW
                # It does not know yet where to begin.
                assert first >= MANY
                assert max(others) <= FEW

                # Work that comes behind the head is found by a full look, after a while.
                connection.execute(
                    f"UPDATE perdure.{work.table} SET ready_at = ready_at - {DEAD * SECOND // 2}"  # noqa: S608 # names of this test
                    f" WHERE {work.key} = {number}"
                )
                assert await work.look() == []
                seconds[0] += 60
                assert await work.look() == [name]
