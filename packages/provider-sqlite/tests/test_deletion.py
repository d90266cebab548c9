"""Deletions: what they leave in the file, how long they hold the write lock, and how they fail."""

import asyncio
import random
import re
import signal
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from perdure.contract import (
    ChangeWait,
    ExecutionEnd,
    InstanceStatus,
    NewActivity,
)
from perdure.errors import (
    ActivityLeaseLost,
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    LeaseLost,
    StorageFailed,
    StorageUnavailable,
)
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._operations import executions, removals
from perdure_sqlite._schema.tables import TABLES
from perdure_sqlite._testing.failing_statements import failing_statement
from perdure_sqlite._writes.transaction import Transaction

LEASE = timedelta(seconds=30)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
CONTINUED = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")
KEPT = {"perdure_meta", "perdure_namespaces", "perdure_turn_queues", "perdure_activity_queues"}
"""Tables that an instance which was deleted leaves its traces in; queues go with the next look."""


@pytest.fixture
def interrupt(monkeypatch) -> Callable[[], AbstractContextManager[None]]:
    """In the block, a deletion ends after its first transaction, as if its process had."""

    @contextmanager
    def interrupted() -> Generator[None]:
        def fail(transaction: Transaction) -> None:
            raise StorageUnavailable("interrupted", operation="delete_instance")

        with monkeypatch.context() as patched:
            patched.setattr("perdure_sqlite._provider.continue_removals", fail)
            yield

    return interrupted


@pytest.fixture
def unpacked(monkeypatch):
    """Histories of a few events stay unpacked, as long ones do."""
    monkeypatch.setattr(executions, "MAX_PACKED_EVENTS", 0)


@pytest.fixture
def small_parts(monkeypatch, unpacked):
    """Histories of a few events are removed in parts, as long ones are."""
    monkeypatch.setattr(removals, "ROWS_PER_PART", 5)


async def ended(desk, make, provider, instance="a", *, events=3, **fields: Any) -> None:
    turn = await desk.leased(provider, instance, **fields)
    texts = tuple(b"%d" % number for number in range(events))
    await provider.commit_turn(make.commit(turn, events=texts, remove=("start",), end=COMPLETED))


async def continued(desk, make, provider, executions: int, *, events=3) -> None:
    """An instance `a` at this execution, running; each earlier one has these events."""
    turn = await desk.leased(provider, "a")
    for number in range(2, executions + 1):
        start = replace(make.new("a").start, id=f"start-{number}", execution=number)
        texts = tuple(b"%d" % each for each in range(events))
        commit = make.commit(turn, events=texts, end=CONTINUED, front=(start,))
        await provider.commit_turn(commit)
        (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, events=(b"current",)))


def rows(raw: sqlite3.Connection) -> dict[str, int]:
    """How many rows the tables have that a deletion empties."""
    names = [table.name for table in TABLES if table.name not in KEPT]
    counts = {
        name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
        for name in names
    }
    return {name: count for name, count in counts.items() if count}


async def test_a_deleted_instance_leaves_no_row(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)

    assert await provider.delete_instance("a", incarnation="one")

    assert rows(desk.raw()) == {}
    assert await provider.read_instance("a") is None
    with pytest.raises(InstanceNotFound):
        await provider.read_history("a", 1, incarnation="one")


async def test_a_running_instance_and_another_incarnation_are_left_alone(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    await ended(desk, make, provider, "b")
    before = rows(desk.raw())

    with pytest.raises(InstanceRunning):
        await provider.delete_instance("a", incarnation="one")
    assert not await provider.delete_instance("b", incarnation="two")
    assert not await provider.delete_instance("c", incarnation="one")

    assert rows(desk.raw()) == before


async def test_late_calls_for_a_deleted_instance_find_nothing_of_the_next_one(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    work = NewActivity(id="work", name="work", data=b"", lease=True)
    await provider.commit_turn(make.commit(turn, events=(b"1",), add=(work,), remove=("start",)))
    await provider.send([make.event("a")])
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, end=COMPLETED))
    await provider.delete_instance("a", incarnation="one")
    await provider.create_instance(make.new("a", incarnation="two"))

    with pytest.raises(LeaseLost):
        await provider.commit_turn(make.commit(turn))
    lease = make.activity_lease("a", "work")
    assert await provider.renew_activities([lease], lease_for=timedelta(seconds=1)) == {lease}
    (turn,) = await provider.lease_turns(make.request())
    with pytest.raises(ActivityLeaseLost):
        await provider.commit_turn(make.commit(turn, finish=(lease,)))
    assert (await provider.read_instance("a")).last_event == 0


async def test_a_long_history_is_removed_in_short_transactions_and_is_out_of_sight(
    desk, make, small_parts
):
    provider = await desk.open()
    other = await desk.open()
    await ended(desk, make, provider, events=33)
    seen: list[Any] = []
    transactions = [0]

    def note(text: str) -> None:
        if re.match(r"BEGIN", text):
            transactions.append(0)
        elif text.startswith("DELETE FROM perdure_events"):
            transactions[-1] += 1
        elif text.startswith("COMMIT") and len(transactions) > 2:
            seen.append(other.opened.database.reader.execute(FIND).fetchall())

    provider.opened.database.writer.set_trace_callback(note)
    await provider.delete_instance("a", incarnation="one")

    assert len(transactions) > 6
    assert max(transactions) == 1
    assert seen
    assert not any(seen)
    assert rows(desk.raw()) == {}


FIND = "SELECT id FROM perdure_instances WHERE namespace = 1 AND id = 'a'"


async def test_a_part_is_bounded_in_bytes_too(desk, make, monkeypatch, unpacked):
    monkeypatch.setattr(removals, "_BYTES_PER_PART", 1000)
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    events = tuple(bytes(900) for _ in range(6))
    await provider.commit_turn(make.commit(turn, events=events, end=COMPLETED))
    statements: list[str] = []
    provider.opened.database.writer.set_trace_callback(statements.append)

    await provider.delete_instance("a", incarnation="one")

    assert sum(text.startswith("DELETE FROM perdure_events") for text in statements) == 3
    assert rows(desk.raw()) == {}


async def test_the_bytes_of_packed_histories_count_too(desk, make, monkeypatch):
    monkeypatch.setattr(removals, "_BYTES_PER_PART", 1000)
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    noise = random.Random(1)
    for number in range(1, 7):
        events = (noise.randbytes(900),)
        commit = make.commit(turn, execution=number, expected_event=0, keep_for=LEASE)
        await provider.commit_turn(replace(commit, events=events, end=CONTINUED))
    await provider.commit_turn(
        make.commit(turn, execution=7, expected_event=0, events=(b"1",), end=COMPLETED)
    )
    assert "perdure_events" not in rows(desk.raw())
    statements: list[str] = []
    provider.opened.database.writer.set_trace_callback(statements.append)

    await provider.delete_instance("a", incarnation="one")

    assert sum(text.startswith("DELETE FROM perdure_executions") for text in statements) == 4
    assert rows(desk.raw()) == {}


async def test_what_a_deletion_left_is_removed_by_the_next_one_and_given_to_no_other_instance(
    desk, make, small_parts, interrupt
):
    provider = await desk.open()
    await ended(desk, make, provider, "b")
    await ended(desk, make, provider, "a", events=20)
    with interrupt():
        assert await provider.delete_instance("a", incarnation="one")
    assert rows(desk.raw())["perdure_removals"] == 1

    await provider.create_instance(make.new("a", incarnation="two"))
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, events=(b"new",), remove=("start",)))
    page = await provider.read_history("a", 1, incarnation="two")
    assert [event.data for event in page.events] == [b"new"]
    counts = await provider.as_management_capability().count_instances()
    assert (counts.total_instances, counts.total_events) == (2, 4)

    assert await provider.delete_instance("b", incarnation="one")
    assert rows(desk.raw()).keys() == {"perdure_instances", "perdure_events"}
    assert rows(desk.raw())["perdure_events"] == 1


@pytest.mark.slow
async def test_a_deletion_that_fails_at_any_statement_leaves_the_instance_whole_or_gone(
    desk, make, small_parts
):
    provider = await desk.open(durability="normal")
    other = await desk.open()
    outcomes = set[bool]()
    for step in range(1, 200):
        await ended(desk, make, provider, f"a{step}", events=12)
        with failing_statement(provider.transaction, step) as fails, suppress(StorageFailed):
            await provider.delete_instance(f"a{step}", incarnation="one")
        state = await other.read_instance(f"a{step}")
        outcomes.add(state is not None)
        if state is not None:
            page = await other.read_history(f"a{step}", 1, incarnation="one")
            assert len(page.events) == 12
        await provider.delete_instance(f"a{step}", incarnation="one")
        assert rows(desk.raw()) == {}
        if not fails.reached:
            break

    assert outcomes == {True, False}
    assert not fails.reached


async def test_a_new_instance_replaces_an_ended_one_in_one_step(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    new = replace(make.new("a", incarnation="two"), replaces="one")

    await provider.create_instance(new)
    await provider.create_instance(new)

    state = await provider.read_instance("a")
    assert (state.incarnation, state.last_event) == ("two", 0)
    assert set(rows(desk.raw())) == {"perdure_instances", "perdure_messages"}
    with pytest.raises(InstanceAlreadyExists):
        await provider.create_instance(replace(new, incarnation="three"))
    await provider.create_instance(replace(make.new("b", incarnation="two"), replaces="gone"))
    assert (await provider.read_instance("b")).incarnation == "two"


async def test_a_running_instance_is_not_replaced(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))

    with pytest.raises(InstanceAlreadyExists):
        await provider.create_instance(replace(make.new("a", incarnation="two"), replaces="one"))


async def test_of_several_that_replace_one_instance_one_is_created(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    news = [replace(make.new("a", incarnation=f"{n}"), replaces="one") for n in range(5)]

    outcomes = await asyncio.gather(
        *(provider.create_instance(new) for new in news), return_exceptions=True
    )

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InstanceAlreadyExists) for outcome in outcomes) == 4


async def test_executions_that_were_pruned_are_gone_from_all_reads(desk, make, small_parts):
    provider = await desk.open()
    admin = provider.as_management_capability()
    await continued(desk, make, provider, 6, events=4)

    assert await provider.prune_executions("a", incarnation="one", before=4) == 3
    assert await provider.prune_executions("a", incarnation="one", before=4) == 0

    assert [each.execution for each in await admin.list_executions("a")] == [4, 5, 6]
    assert list(await admin.list_execution_numbers("a")) == [4, 5, 6]
    assert await admin.read_execution("a", 3) is None
    assert (await admin.read_events("a", 3)).events == ()
    assert len((await admin.read_events("a", 4)).events) == 4
    with pytest.raises(ExecutionNotFound):
        await provider.read_history("a", 3, incarnation="one")
    counts = await admin.count_instances()
    assert (counts.total_executions, counts.total_events) == (3, 9)
    assert rows(desk.raw())["perdure_executions"] == 2
    assert rows(desk.raw())["perdure_events"] == 9
    assert "perdure_removals" not in rows(desk.raw())


async def test_the_current_execution_is_never_pruned(desk, make):
    provider = await desk.open()
    admin = provider.as_management_capability()
    await continued(desk, make, provider, 3)

    assert await provider.prune_executions("a", incarnation="one", before=99) == 2
    assert (await admin.list_instances(status=CONTINUED.status, limit=9)).ids == ()
    (turn,) = [await desk.leased(provider, "b")]
    assert turn.state.instance == "b"
    page = await provider.read_history("a", 3, incarnation="one")
    assert [event.data for event in page.events] == [b"current"]
    with pytest.raises(InstanceNotFound):
        await provider.prune_executions("a", incarnation="two", before=2)


async def test_an_instance_that_was_pruned_in_part_is_deleted_whole(
    desk, make, small_parts, interrupt
):
    provider = await desk.open()
    await continued(desk, make, provider, 5, events=6)
    with interrupt():
        await provider.prune_executions("a", incarnation="one", before=5)
    assert rows(desk.raw())["perdure_removals"] == 1
    await provider.send([make.event("a")])
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, end=COMPLETED))

    await provider.delete_instance("a", incarnation="one")

    assert rows(desk.raw()) == {}


async def test_early_events_are_deleted_by_id_age_and_number(desk, make):
    provider = await desk.open()
    await provider.send([make.event("a", id=f"{n}") for n in range(3)])
    await provider.send([make.event("b", id="0", visible_at=desk.clock.now() + 10**12)])
    desk.clock.advance(timedelta(hours=1))
    later = desk.clock.now()
    await provider.send([make.event("a", id="late")])

    assert await provider.delete_early_events("a", arrived_before=later, limit=2) == 2
    assert await provider.delete_early_events("a", arrived_before=later, limit=2) == 1
    assert await provider.delete_early_events(None, arrived_before=later, limit=9) == 1
    assert await provider.delete_early_events(None, arrived_before=later, limit=9) == 0
    await provider.create_instance(make.new("a"))
    (turn,) = await provider.lease_turns(make.request())
    assert [message.id for message in turn.messages] == ["start", "late"]


async def test_many_early_events_are_deleted_in_several_transactions(desk, make):
    provider = await desk.open(durability="normal")
    await provider.send([make.event("a", id=f"{n}") for n in range(2500)])
    begun: list[str] = []
    provider.opened.database.writer.set_trace_callback(
        lambda text: begun.append(text) if text.startswith("BEGIN") else None
    )

    assert await provider.delete_early_events(None, limit=2400) == 2400
    assert len(begun) == 3
    assert await provider.delete_early_events("a", limit=10**6) == 100


async def test_a_namespace_is_emptied_and_used_again_by_all_that_have_it_open(
    desk, make, small_parts
):
    provider = await desk.open()
    beside = await desk.open()
    other = await desk.open(namespace="other")
    await ended(desk, make, other, "a")
    await ended(desk, make, provider, "ended", events=20)
    turn = await desk.leased(provider, "running")
    work = NewActivity(id="work", name="work", data=b"")
    await provider.commit_turn(make.commit(turn, events=(b"1",) * 9, add=(work,)))
    await provider.send([make.event("running"), make.event("early")])

    await provider.delete_namespace()
    await provider.delete_namespace()

    assert rows(desk.raw()) == {
        "perdure_instances": 1,
        "perdure_executions": 1,
        "perdure_events": 3,
    }
    assert (await other.read_instance("a")).last_event == 3
    assert await desk.activities(beside) == []
    for number, each in enumerate((beside, provider)):
        turn = await desk.leased(each, f"new-{number}")
        await each.commit_turn(make.commit(turn, add=(work,)))
        assert len(await desk.activities(each)) == 1


async def test_those_who_wait_for_a_change_hear_of_a_deletion(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    state = await provider.read_instance("a")
    wait = ChangeWait(instance="a", timeout=timedelta(hours=1), last_commit=state.last_commit)
    waiting = asyncio.ensure_future(provider.wait_for_change(wait))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    await provider.delete_instance("a", incarnation="one")
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(provider.wait_for_change(wait), 5)


async def test_an_early_event_has_arrived_when_it_was_sent_however_late_it_is_visible(desk, make):
    provider = await desk.open()
    sent = desk.clock.now()
    await provider.send([make.event("a", visible_at=sent + 10**12)])

    assert await provider.delete_early_events("a", arrived_before=sent, limit=1) == 0
    assert await provider.delete_early_events("a", arrived_before=sent + 1, limit=1) == 1


FIRST_COMMIT = 12
"""The number of the statement by which the deletion takes effect."""
PROGRAM = """
import asyncio, os, signal, sys
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._operations import removals

removals.ROWS_PER_PART = 5
left = int(sys.argv[1])

async def main():
    async with SQLiteProvider(SQLiteOptions(path="x.db")) as provider:
        execute = provider.transaction.execute

        def dying(*statement):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return execute(*statement)

        provider.transaction.execute = dying
        await provider.delete_instance("a", incarnation="one")

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", [1, 8, FIRST_COMMIT, FIRST_COMMIT + 1, 20, 35])
async def test_a_process_that_is_killed_in_a_deletion_leaves_the_instance_whole_or_gone(
    desk, make, in_a_process, statement, unpacked
):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)) as provider:
        await ended(desk, make, provider, "a", events=22)
        await ended(desk, make, provider, "b", events=1)
    killed = in_a_process(PROGRAM.replace("int(sys.argv[1])", str(statement)))
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, output

    provider = await desk.open()
    state = await provider.read_instance("a")
    assert (state is None) == (statement > FIRST_COMMIT)
    if state is not None:
        page = await provider.read_history("a", 1, incarnation="one")
        assert len(page.events) == 22
        assert await provider.delete_instance("a", incarnation="one")
    await provider.delete_instance("b", incarnation="one")
    assert rows(desk.raw()) == {}
