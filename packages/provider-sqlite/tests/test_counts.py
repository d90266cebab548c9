"""The counts of ended instances: what triggers keep is what a count of all rows gives."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
)
from perdure_sqlite import SQLiteOptions, SQLiteProvider

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
FAILED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"no")
CONTINUED = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")


def kept(path: Path) -> list[tuple[object, ...]]:
    """What the triggers keep, without what has gone down to nothing."""
    return read(path, "SELECT * FROM perdure_counts WHERE instances OR executions OR events")


def counted(path: Path) -> list[tuple[object, ...]]:
    return read(
        path,
        "SELECT namespace, status, count(*), sum(execution - first_execution + 1), sum(last_event + earlier_events)"
        " FROM perdure_instances WHERE namespace > 0 AND status <> 'Running' GROUP BY 1, 2",
    )


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def end(provider, make, instance, end=COMPLETED, *, events=2):
    await provider.create_instance(make.new(instance))
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(
        make.commit(turn, events=(b"e",) * events, remove=("start",), end=end)
    )


async def test_ended_instances_are_counted_as_they_end_are_reopened_continue_and_are_deleted(
    desk, make
):
    provider = await desk.open()
    for number, how in enumerate((COMPLETED, COMPLETED, FAILED, FAILED, CONTINUED)):
        await end(provider, make, f"i{number}", how, events=number + 1)
    start = replace(make.new("i0").start, id="again", execution=2)
    await provider.reopen_instance(
        InstanceReopening(id="r", instance="i0", incarnation="one", execution=1, start=start)
    )
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, events=(b"e",) * 7, end=FAILED))
    await provider.terminate_instance(
        InstanceTermination(
            id="t", instance="i4", incarnation="one", events=(b"end",), output=b"stopped"
        )
    )
    before = kept(desk.path)
    await provider.delete_instance("i1", incarnation="one")
    await provider.delete_instance("i0", incarnation="one")
    metrics = await provider.as_management_capability().count_instances()

    # Of i0 and of i4 two executions each, with the events of both.
    assert before == [(1, "Completed", 1, 1, 2), (1, "Failed", 4, 6, 3 + 4 + (1 + 7) + (5 + 1))]
    assert kept(desk.path) == counted(desk.path) == [(1, "Failed", 3, 4, 3 + 4 + 5 + 1)]
    assert (metrics.total_instances, metrics.failed_instances) == (3, 3)
    assert (metrics.total_executions, metrics.total_events) == (4, 3 + 4 + 5 + 1)


async def test_what_is_counted_of_instances_that_continue_is_read_from_one_row_of_each(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    for number in range(1, 6):
        start = replace(make.new("a").start, id=f"{number}", execution=number + 1)
        events = (b"e",) * number
        commit = make.commit(turn, execution=number, events=events, end=CONTINUED, front=(start,))
        await provider.commit_turn(commit)
        (turn,) = await provider.lease_turns(make.request())
    await provider.prune_executions("a", incarnation="one", before=3)
    admin = provider.as_management_capability()
    before = await admin.count_instances()
    # As if the ends of all executions took long to read.
    desk.raw().execute("DROP TABLE perdure_executions")
    after = await admin.count_instances()

    assert before == after
    assert (after.total_instances, after.total_executions) == (1, 4)
    assert after.total_events == 3 + 4 + 5


@pytest.mark.parametrize(
    "lost",
    [
        "DROP TABLE perdure_counts",
        "DROP TRIGGER perdure_counts_change",
        "DROP TRIGGER perdure_counts_removal",
        # One that another release has made.
        """
        DROP TRIGGER perdure_counts_change;
        CREATE TRIGGER perdure_counts_change AFTER DELETE ON perdure_meta BEGIN SELECT 1; END;
        """,
    ],
)
async def test_a_file_that_does_not_keep_its_counts_is_counted_when_it_is_opened(
    tmp_path, make, lost
):
    path = tmp_path / "x.db"
    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        await end(provider, make, "a")
    connection = sqlite3.connect(path)
    connection.executescript(lost)
    if "TABLE" not in lost:  # what was not counted meanwhile
        connection.execute("UPDATE perdure_counts SET instances = 9")
        connection.commit()
    connection.close()

    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        opened = kept(path)
        await end(provider, make, "b")

    assert opened == [(1, "Completed", 1, 1, 2)]
    assert kept(path) == counted(path) == [(1, "Completed", 2, 2, 4)]
