"""What a call costs in statements and in written pages, counted.

The figures of the calls of contract 1.0 are those of release 0.1.0: what is stored for recovery,
deletion, values and listings costs nothing where it is not used.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, NewActivity
from perdure_sqlite import SQLiteProvider

WAL_HEADER, FRAME = 32, 24 + 4096
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
CONTINUED = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")


class Cost:
    """What the calls in a block cost: statements that read, rows that change, pages of the log."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.pages = 0

    @property
    def figures(self) -> tuple[int, int, int]:
        reads = sum(text.startswith("SELECT") for text in self.statements)
        return reads, len(self.statements) - reads, self.pages

    def note(self, text: str) -> None:
        if not re.match(r"BEGIN|COMMIT|ROLLBACK|PRAGMA", text):
            self.statements.append(text)


Measure: TypeAlias = Callable[[SQLiteProvider], AbstractAsyncContextManager[Cost]]


@pytest.fixture
def measure(desk) -> Measure:
    log = desk.path.with_name(f"{desk.path.name}-wal")

    @asynccontextmanager
    async def measured(provider: SQLiteProvider) -> AsyncIterator[Cost]:
        cost = Cost()
        database = provider._open.database
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
        (10, 1, 3),
        (2, 5, 9),
        (1, 0, 0),
        (4, 10, 11),
        (2, 7, 8),
        (1, 0, 0),
        (3, 0, 0),
    ]
