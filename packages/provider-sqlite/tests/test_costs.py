"""What a call costs in statements and in written pages, counted.

The figures of the calls of contract 1.0 are those of release 0.1.0: what is stored for recovery,
deletion, values and listings costs nothing where it is not used. The end of an execution is the
exception: it packs the history, and an instance's end changes the counts for metrics. A lease reads
less, and a step under a lease that was kept reads nothing.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import pytest
from perdure.contract import (
    ChangeWait,
    ExecutionEnd,
    InstanceQuery,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    NewActivity,
)
from perdure_sqlite import SQLiteProvider

WAL_HEADER, FRAME = 32, 24 + 4096
LEASE = timedelta(seconds=30)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
CONTINUED = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")


class Cost:
    """What the calls in a block cost: statements that read, rows that change, pages of the log."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.pages = 0
        self._last = ""

    @property
    def figures(self) -> tuple[int, int, int]:
        reads = sum(text.startswith("SELECT") for text in self.statements)
        return reads, len(self.statements) - reads, self.pages

    def note(self, text: str) -> None:
        # The driver tells of a statement again when a trigger of it begins, and for its steps.
        if not re.match(r"BEGIN|COMMIT|ROLLBACK|PRAGMA", text) and text != self._last:
            self.statements.append(text)
        self._last = text


Measure: TypeAlias = Callable[[SQLiteProvider], AbstractAsyncContextManager[Cost]]


@pytest.fixture
def measure(desk) -> Measure:
    log = desk.path.with_name(f"{desk.path.name}-wal")

    @asynccontextmanager
    async def measured(provider: SQLiteProvider) -> AsyncIterator[Cost]:
        cost = Cost()
        database = provider.opened.database
        before = max(log.stat().st_size, WAL_HEADER)
        for connection in (database.writer, database.reader):
            connection.set_trace_callback(cost.note)
        yield cost
        for connection in (database.writer, database.reader):
            connection.set_trace_callback(None)
        cost.pages = (log.stat().st_size - before) // FRAME

    return measured


async def test_the_calls_of_an_instance_cost_what_they_did_in_the_first_release(
    desk, make, measure
):
    provider = await desk.open()
    # The first instance makes the queues.
    queued = NewActivity(id="work", name="work", data=b"")
    leased = replace(queued, lease=True)
    first = await desk.leased(provider, "first")
    await provider.commit_turn(make.commit(first, remove=("start",), add=(queued,)))

    async with measure(provider) as creation:
        await provider.create_instance(make.new("a"))
    async with measure(provider) as leasing:
        (turn,) = await provider.lease_turns(make.request())
    async with measure(provider) as step:
        await provider.commit_turn(
            make.commit(turn, events=(b"1", b"2"), remove=("start",), add=(leased,))
        )
    async with measure(provider) as running:
        await provider.read_instance("a")
    await provider.send([make.event("a", id="go")])
    (turn,) = await provider.lease_turns(make.request())
    async with measure(provider) as continuing:
        await provider.commit_turn(
            make.commit(
                turn,
                events=(b"3", b"4"),
                remove=("go",),
                finish=(make.activity_lease("a", "work"),),
                end=CONTINUED,
                front=(replace(make.new("a").start, execution=2),),
            )
        )
    (turn,) = await provider.lease_turns(make.request())
    async with measure(provider) as end:
        await provider.commit_turn(
            make.commit(turn, events=(b"1", b"2"), remove=("start",), end=COMPLETED)
        )
    async with measure(provider) as ended:
        await provider.read_instance("a")
    async with measure(provider) as history:
        await provider.read_history("a", 1, incarnation="one")

    costs = (creation, leasing, step, running, continuing, end, ended, history)
    assert [cost.figures for cost in costs] == [
        (2, 2, 7),
        (7, 1, 3),
        (2, 5, 9),
        (1, 0, 0),
        (5, 9, 11),
        (2, 4, 8),
        (1, 0, 0),
        (2, 0, 0),
    ]


async def test_a_step_under_a_lease_that_was_kept_reads_nothing(desk, make, measure):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    first = NewActivity(id="1", name="work", data=b"", lease=True)
    await provider.commit_turn(
        make.commit(turn, events=(b"1", b"2"), remove=("start",), add=(first,), keep_for=LEASE)
    )

    async with measure(provider) as step:
        await provider.commit_turn(
            make.commit(
                turn,
                expected_event=2,
                events=(b"3", b"4"),
                finish=(make.activity_lease("a", "1"),),
                add=(replace(first, id="2"),),
                keep_for=LEASE,
            )
        )

    assert step.figures == (0, 5, 5)


async def test_the_commit_that_ends_a_wait_costs_one_read_more(desk, make, measure):
    provider = await desk.open()
    turns = [await desk.leased(provider, instance) for instance in "ab"]
    commits = [make.commit(turn, events=(b"1",), end=COMPLETED) for turn in turns]
    wait = ChangeWait(instance="b", timeout=timedelta(hours=1), until_ended=True)
    waiting = asyncio.ensure_future(provider.wait_for_change(wait))
    await asyncio.sleep(0)

    async with measure(provider) as alone:
        await provider.commit_turn(commits[0])
    async with measure(provider) as awaited:
        await provider.commit_turn(commits[1])
        state = await waiting

    assert state is not None
    assert state.status is InstanceStatus.COMPLETED
    assert awaited.figures == (alone.figures[0] + 1, *alone.figures[1:])


async def test_the_calls_of_contract_1_1_cost_what_is_told_of_them(desk, make, measure):
    provider = await desk.open()
    admin = provider.as_management_capability()
    await desk.leased(provider, "first")
    for instance in ("a", "b"):
        new = replace(make.new(instance), labels={"tenant": "acme"})
        await provider.create_instance(new)
    turns = await provider.lease_turns(make.request())
    for turn in turns:
        await provider.commit_turn(
            make.commit(turn, events=(b"1",) * 8, remove=("start",), end=COMPLETED)
        )
    start = replace(make.new("a").start, id="again", execution=2)
    reopening = InstanceReopening(id="1", instance="a", incarnation="one", execution=1, start=start)
    termination = InstanceTermination(
        id="2", instance="a", incarnation="one", events=(b"end",), output=b"stopped"
    )

    async with measure(provider) as creation:
        await provider.create_instance(replace(make.new("c"), labels={"tenant": "acme"}))
    async with measure(provider) as reopened:
        await provider.reopen_instance(reopening)
    async with measure(provider) as terminated:
        await provider.terminate_instance(termination)
    (turn,) = await provider.lease_turns(make.request())
    async with measure(provider) as status:
        await provider.commit_turn(make.commit(turn, custom_status=b"half"))
    await provider.send([make.event("c")])
    (turn,) = await provider.lease_turns(make.request())
    async with measure(provider) as values:
        await provider.commit_turn(make.commit(turn, values={"a": b"1", "b": b"2"}))
    async with measure(provider) as reading:
        await provider.read_values("c")
    async with measure(provider) as page:
        found = await admin.find_instances(InstanceQuery(labels={"tenant": "acme"}), limit=10)
    async with measure(provider) as work:
        await admin.read_work("c")
    async with measure(provider) as deletion:
        await provider.delete_instance("b", incarnation="one")

    assert len(found.instances) == 3
    assert {
        "create_instance": creation.figures,
        "reopen_instance": reopened.figures,
        "terminate_instance": terminated.figures,
        "commit_turn, custom status": status.figures,
        "commit_turn, values": values.figures,
        "read_values": reading.figures,
        "find_instances": page.figures,
        "read_work": work.figures,
        "delete_instance": deletion.figures,
    } == {
        "create_instance": (2, 3, 8),
        "reopen_instance": (5, 4, 7),
        "terminate_instance": (2, 3, 7),
        "commit_turn, custom status": (3, 3, 4),
        "commit_turn, values": (3, 6, 4),
        "read_values": (2, 0, 0),
        "find_instances": (4, 0, 0),
        "read_work": (3, 0, 0),
        "delete_instance": (6, 5, 7),
    }
