"""Rows and pages that were lost: told as damage, never read as a value or as waiting."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import perdure
import pytest
from perdure.contract import ChangeWait, ExecutionEnd, InstanceStatus
from perdure.errors import StorageCorrupt
from perdure_sqlite import SQLiteOptions, SQLiteProvider

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b'"done"')
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)


@pytest.fixture
async def ended(desk, make) -> SQLiteProvider:
    """A provider whose instance `a` has ended in its second execution."""
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, events=(b"1",), end=AGAIN, keep_for=LEASE))
    last = make.commit(turn, execution=2, expected_event=0, events=(b"1",), end=COMPLETED)
    await provider.commit_turn(last)
    return provider


LEASE = perdure.RuntimeOptions().turn_lease


@pytest.mark.parametrize(
    "read",
    [
        lambda provider, admin: provider.read_instance("a"),
        lambda provider, admin: admin.list_executions("a"),
        lambda provider, admin: admin.list_execution_numbers("a"),
        lambda provider, admin: admin.read_execution("a", 2),
    ],
    ids=["read_instance", "list_executions", "list_execution_numbers", "read_execution"],
)
async def test_the_lost_end_of_an_instance_is_damage(desk, ended, read):
    desk.raw().execute("DELETE FROM perdure_executions WHERE execution = 2")

    with pytest.raises(StorageCorrupt, match="instance 'a' is damaged.*execution 2 is lost"):
        await read(ended, ended.as_management_capability())


@pytest.mark.parametrize(
    "read",
    [
        lambda admin: admin.list_executions("a"),
        lambda admin: admin.list_execution_numbers("a"),
        lambda admin: admin.read_execution("a", 1),
        lambda admin: admin.read_events("a", 1),
    ],
    ids=["list_executions", "list_execution_numbers", "read_execution", "read_events"],
)
async def test_the_lost_end_of_an_earlier_execution_is_damage(desk, ended, read):
    desk.raw().execute("DELETE FROM perdure_executions WHERE execution = 1")

    with pytest.raises(StorageCorrupt, match="instance 'a' is damaged.*execution 1 is lost"):
        await read(ended.as_management_capability())


async def test_the_lost_end_of_an_earlier_execution_leaves_the_instance_readable(desk, ended):
    desk.raw().execute("DELETE FROM perdure_executions WHERE execution = 1")

    state = await ended.read_instance("a")
    last = await ended.as_management_capability().read_execution("a", 2)

    assert state is not None
    assert state.output == b'"done"'
    assert last is not None
    assert last.output == b'"done"'


async def test_ends_that_contradict_each_other_are_damage(desk, ended):
    desk.raw().execute("UPDATE perdure_executions SET status = 'Failed' WHERE execution = 2")

    with pytest.raises(StorageCorrupt, match="is that of 'Failed'"):
        await ended.read_instance("a")


async def test_executions_that_never_were_are_not_damage(ended):
    admin = ended.as_management_capability()

    found = [await admin.read_execution("a", number) for number in (0, 3)]
    events = [await admin.read_events("a", number) for number in (0, 3)]

    assert found == [None, None]
    assert all(page.events == () for page in events)


async def test_a_client_is_told_of_a_lost_end_and_not_given_a_value(desk, ended):
    desk.raw().execute("DELETE FROM perdure_executions")

    with pytest.raises(StorageCorrupt, match="instance 'a' is damaged"):
        await perdure.Client(ended).get_orchestration_status("a")


async def test_listing_executions_reads_nothing_that_they_gave(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    big = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"x" * 1_000_000)
    for number in range(1, 9):
        commit = make.commit(turn, execution=number, expected_event=0, end=big, keep_for=LEASE)
        await provider.commit_turn(commit)
    statements: list[str] = []
    provider.opened.database.reader.set_trace_callback(statements.append)

    numbers = await provider.as_management_capability().list_execution_numbers("a")

    assert list(numbers) == list(range(1, 10))
    assert [text for text in statements if "output" in text] == []


def damage_index(path: Path, index: str) -> None:
    """Overwrite the first page of an index of a closed file, as a failing disk may."""
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)
    ).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


async def test_running_instances_are_shown_as_parked_while_no_work_can_be_found(desk, make):
    async with SQLiteProvider(SQLiteOptions(path=desk.path), clock=desk.clock) as provider:
        await desk.leased(provider, "a")
        turn = await desk.leased(provider, "ended")
        await provider.commit_turn(make.commit(turn, end=COMPLETED))
    damage_index(desk.path, "perdure_instances_by_bucket")
    provider = await desk.open()
    before = await provider.read_instance("a")
    now = desk.clock.now()

    for _ in range(2):
        with pytest.raises(StorageCorrupt, match="restore it from a backup"):
            await provider.lease_turns(make.request())
        desk.clock.advance(LEASE)
    after = await provider.read_instance("a")
    ended = await provider.read_instance("ended")

    assert before is not None
    assert before.parked is None
    assert after is not None
    assert after.parked is not None
    assert (after.parked.reason, after.parked.since) == ("undecodable", now)
    assert "no work can be found" in after.parked.details
    assert ended is not None
    assert ended.parked is None


async def test_who_waits_for_a_change_is_told_when_no_work_can_be_found(desk, make):
    async with SQLiteProvider(SQLiteOptions(path=desk.path), clock=desk.clock) as provider:
        await desk.leased(provider, "a")
    damage_index(desk.path, "perdure_instances_by_bucket")
    provider = await desk.open()
    wait = ChangeWait(instance="a", timeout=LEASE, until_ended=True)
    waiting = asyncio.ensure_future(provider.wait_for_change(wait))
    await asyncio.sleep(0.01)

    with pytest.raises(StorageCorrupt):
        await provider.lease_turns(make.request())
    await asyncio.wait_for(waiting, 5)
    state = await provider.read_instance("a")
    again = asyncio.ensure_future(
        provider.wait_for_change(replace(wait, parked=state.parked if state else None))
    )
    await asyncio.sleep(0.01)

    assert not again.done()
    desk.clock.advance(LEASE)
    await again


async def test_the_mark_goes_when_work_is_found_again(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    damage = provider.opened.notifications.damage
    with pytest.raises(StorageCorrupt), damage.watching("lease_turns"):
        raise StorageCorrupt("damaged", operation="lease_turns")
    marked = await provider.read_instance("a")

    await provider.lease_turns(make.request())

    found = await provider.read_instance("a")
    assert marked is not None
    assert marked.parked is not None
    assert found is not None
    assert found.parked is None
