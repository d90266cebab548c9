"""Several processes on one file, and the end of one by force."""

import json
import sqlite3
from collections import Counter
from datetime import timedelta

import pytest
from perdure.contract import InstanceStatus
from perdure_sqlite import SQLiteOptions, SQLiteProvider

pytestmark = pytest.mark.slow

WORKER = """
import asyncio, json, os
from datetime import timedelta
from perdure.contract import *
from perdure_sqlite import SQLiteOptions, SQLiteProvider

LEASE = timedelta(seconds=60)
SERVES = Serves(orchestrations={"process": frozenset()})

async def main(total):
    mine = []
    async with SQLiteProvider(SQLiteOptions(path="x.db")) as provider:
        admin = provider.as_management_capability()
        number = 0
        while (await admin.count_instances()).completed_instances < total:
            number += 1
            turns = await provider.lease_turns(
                TurnRequest(token=f"{os.getpid()}-{number}", limit=7, lease_for=LEASE,
                            serves=SERVES))
            await asyncio.gather(*(run(provider, turn, mine) for turn in turns))
            if not turns:
                await provider.wait_for_work(WorkWait(timeout=timedelta(seconds=0.05),
                                                      serves=SERVES))
    print(json.dumps(mine))

async def run(provider, turn, mine):
    state = turn.state
    ends = state.last_event == 4
    end = ExecutionEnd(status=InstanceStatus.COMPLETED) if ends else None
    event = Message(id=f"e{state.last_event}", instance=state.instance, kind=MessageKind.EVENT,
                    data=b"")
    await provider.commit_turn(
        TurnCommit(id=f"{turn.token}-{state.instance}", instance=state.instance,
                   incarnation=state.incarnation, token=turn.token, execution=1,
                   expected_event=state.last_event, events=(str(os.getpid()).encode(),),
                   remove=tuple(message.id for message in turn.messages),
                   send=(event,), end=end))
    mine.append(state.instance)

asyncio.run(main(TOTAL))
"""


async def test_each_turn_is_run_by_exactly_one_process_and_none_meets_a_lock(
    desk, make, in_a_process
):
    total = 60
    async with SQLiteProvider(SQLiteOptions(path=desk.path)) as provider:
        for n in range(total):
            await provider.create_instance(make.new(f"i{n}"))

    workers = [in_a_process(WORKER.replace("TOTAL", str(total))) for _ in range(3)]
    shown = [worker.communicate(timeout=120)[0] for worker in workers]

    turns = [instance for text in shown for instance in json.loads(text)]
    assert sorted(turns) == sorted(f"i{n}" for n in range(total) for _ in range(5))
    async with SQLiteProvider(SQLiteOptions(path=desk.path)) as provider:
        metrics = await provider.as_management_capability().count_instances()
        assert (metrics.completed_instances, metrics.total_events) == (total, 5 * total)


WRITER = """
import asyncio
from datetime import timedelta
from perdure.contract import *
from perdure_sqlite import SQLiteOptions, SQLiteProvider

async def write(provider, caller):
    number = 0
    while True:
        number += 1
        instance = f"{caller}-{number}"
        start = Message(id="s", instance=instance, kind=MessageKind.START, data=b"",
                        incarnation="i")
        await provider.create_instance(
            NewInstance(instance=instance, incarnation="i", name="process", start=start))
        print(instance, flush=True)

async def main():
    async with SQLiteProvider(SQLiteOptions(path="x.db")) as provider:
        await asyncio.gather(*(write(provider, caller) for caller in range(10)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 57, 400])
async def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(
    desk, make, in_a_process, lines
):
    with in_a_process(WRITER) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        # Not `communicate`: it reads past what `readline` has buffered, and so loses lines.
        acknowledged += process.stdout.read().split("\n")[:-1]

    written = Counter(instance.split("-")[0] for instance in acknowledged)
    every = {f"{caller}-{n}" for caller, count in written.items() for n in range(1, count + 1)}
    assert set(acknowledged) == every
    async with SQLiteProvider(SQLiteOptions(path=desk.path), clock=desk.clock) as provider:
        for instance in acknowledged:
            state = await provider.read_instance(instance)
            assert state is not None
            assert state.status is InstanceStatus.RUNNING
        metrics = await provider.as_management_capability().count_instances()
        depths = await provider.as_management_capability().count_queues()
        # What was not acknowledged is there as a whole or not at all.
        assert depths.orchestrator_queue == metrics.total_instances >= len(acknowledged)
    raw = sqlite3.connect(desk.path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


async def test_everything_is_there_after_a_new_open(desk, make):
    later = desk.clock.now() + 60_000_000
    async with SQLiteProvider(SQLiteOptions(path=desk.path), clock=desk.clock) as provider:
        turn = await desk.leased(provider, "a", version="1.0.0")
        await provider.commit_turn(
            make.commit(
                turn, events=(b"1", b"2"), remove=("start",), keep_for=timedelta(seconds=30)
            )
        )
        await provider.send([make.event("a", id="second", visible_at=later)])
        await provider.send([make.event("a", id="first"), make.event("later", id="early")])
        before = await provider.read_instance("a")

    desk.clock.advance(timedelta(seconds=60))
    provider = await desk.open()
    (turn,) = await provider.lease_turns(make.request())

    assert turn.state == before
    assert [message.id for message in turn.messages] == ["first", "second"]
    assert turn.attempt == 2
    page = await provider.read_history("a", 1, incarnation="one")
    assert [event.data for event in page.events] == [b"1", b"2"]
    waiting = await desk.leased(provider, "later")
    assert [message.id for message in waiting.messages] == ["start", "early"]
