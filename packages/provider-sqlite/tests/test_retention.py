"""The file stays as large as what it holds: short instances come and go, and their space is used again.

`PERDURE_RETENTION_INSTANCES` is the number of instances; `nox -s retention` runs a million.
"""

import asyncio
import os
import resource
from collections import deque
from datetime import timedelta
from typing import Any

import perdure
import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, Provider
from perdure_sqlite._reads.searches import Search, Step

INSTANCES = int(os.environ.get("PERDURE_RETENTION_INSTANCES", "2000"))
WAVE = 100
STEP = timedelta(minutes=10)
RETENTION = timedelta(hours=1)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
EVENTS = tuple(b'{"kind":"ActivityCompleted","result":"%d"}' % number for number in range(9))


@pytest.mark.slow
@pytest.mark.timeout(0 if INSTANCES > 10_000 else 120)
async def test_file_and_memory_stay_flat_while_instances_come_and_go(desk, make):
    provider = await desk.open(durability="normal")
    raw = desk.raw()
    kept: deque[list[str]] = deque()
    pages: list[int] = []
    memory: list[int] = []

    for number in range(INSTANCES // WAVE):
        # As long as each other, so that what an instance takes is the same.
        kept.append([f"order-{number:06}-{each:02}" for each in range(WAVE)])
        await run(provider, make, kept[-1])
        desk.clock.advance(STEP)
        if len(kept) > RETENTION / STEP:
            await delete(provider, kept.popleft())
        pages.append(raw.execute("PRAGMA page_count").fetchone()[0])
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    full = int(RETENTION / STEP) + 2
    assert pages[full] > 50
    assert max(pages) <= 1.1 * pages[full]
    assert memory[-1] - memory[full] < 8 * 1024
    log = desk.path.with_name(f"{desk.path.name}-wal").stat().st_size
    assert log < 80 * 1024 * 1024
    for wave in kept:
        await delete(provider, wave)
    assert raw.execute("SELECT count(*) FROM perdure_events").fetchone() == (0,)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def run(provider: Provider, make, instances: list[str]) -> None:
    await asyncio.gather(*(provider.create_instance(make.new(each)) for each in instances))
    turns = await provider.lease_turns(make.request(limit=len(instances)))
    assert len(turns) == len(instances)
    commits = (make.commit(turn, events=EVENTS, remove=("start",), end=COMPLETED) for turn in turns)
    await asyncio.gather(*map(provider.commit_turn, commits))


async def delete(provider: Provider, instances: list[str]) -> None:
    deleted = await asyncio.gather(
        *(provider.delete_instance(each, incarnation="one") for each in instances)
    )
    assert all(deleted)


@pytest.mark.slow
async def test_a_runtime_finds_what_is_too_old_without_looking_at_what_it_keeps(
    desk, make, monkeypatch
):
    looked: list[int] = []
    look = Search.look

    def counted(search: Search, *given: Any, **options: Any) -> Step:
        step = look(search, *given, **options)
        looked.append(step.looks)
        return step

    monkeypatch.setattr(Search, "look", counted)
    provider = await desk.open(durability="normal")
    old = [f"old-{number}" for number in range(3)]
    await run(provider, make, old)
    desk.clock.advance(RETENTION)
    for number in range(5):
        await run(provider, make, [f"kept-{number}-{each}" for each in range(WAVE)])
    options = perdure.RuntimeOptions(
        retention=perdure.Retention(completed=RETENTION / 2, every=timedelta(seconds=10))
    )

    async with perdure.Runtime(provider, perdure.Registry(), options=options):
        for _ in range(400):
            if await provider.read_instance(old[0]) is None:
                break
            desk.clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.005)

    assert [await provider.read_instance(instance) for instance in old] == [None] * 3
    assert len(looked) >= 3
    assert sum(looked) < 50


shop = perdure.Registry()


@shop.orchestration
async def order(ctx: perdure.OrchestrationContext, number: int) -> int:
    ctx.set_status({"number": number})
    return number


@pytest.mark.slow
@pytest.mark.timeout(0 if INSTANCES > 10_000 else 120)
async def test_file_and_memory_stay_flat_under_the_retention_of_a_runtime(desk):
    provider = await desk.open(durability="normal")
    raw = desk.raw()
    client = perdure.Client(provider)
    pages: list[int] = []
    memory: list[int] = []
    options = perdure.RuntimeOptions(
        retention=perdure.Retention(
            completed=RETENTION, every=timedelta(minutes=1), at_once=2 * WAVE
        )
    )

    async with perdure.Runtime(provider, shop, options=options) as runtime:
        for number in range(INSTANCES // WAVE):
            ids = [f"order-{number:06}-{each:02}" for each in range(WAVE)]
            handles = [await client.start(each, order)(number) for each in ids]
            await asyncio.gather(*(handle.result() for handle in handles))
            desk.clock.advance(STEP)
            due = max(0, number + 1 - int(RETENTION / STEP)) * WAVE
            while runtime.statistics.instances_deleted < due:
                desk.clock.advance(timedelta(seconds=1))
                await asyncio.sleep(0.002)
            pages.append(raw.execute("PRAGMA page_count").fetchone()[0])
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    full = int(RETENTION / STEP) + 2
    assert max(pages) <= 1.1 * pages[full]
    assert memory[-1] - memory[full] < 8 * 1024
