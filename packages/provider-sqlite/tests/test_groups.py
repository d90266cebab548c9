"""Group commit: one transaction for all that wait, and no shared fate."""

import asyncio
import os
import sqlite3
from datetime import timedelta

import pytest
from perdure.contract import NewActivity, TurnLease
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceAlreadyExists,
    LeaseLost,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
)
from perdure_sqlite import SQLiteOptions, SQLiteProvider

LEASE = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """How much time a group takes depends on the machine; what is in it should not, here."""
    monkeypatch.setattr("perdure_sqlite._writes.writer._LONGEST_GROUP", 60)


class Trace:
    """The statements that the writer runs."""

    def __init__(self, provider: SQLiteProvider) -> None:
        self.statements: list[str] = []
        provider.opened.database.writer.set_trace_callback(self.statements.append)

    def count(self, text: str) -> int:
        return sum(statement.startswith(text) for statement in self.statements)


async def test_calls_that_wait_together_share_one_transaction(desk, make):
    provider = await desk.open()
    trace = Trace(provider)

    await asyncio.gather(*(provider.create_instance(make.new(f"i{n}")) for n in range(50)))

    assert trace.count("BEGIN") == 1
    assert trace.count("COMMIT") == 1


async def test_a_large_crowd_is_split_so_that_the_loop_goes_on(desk, make):
    provider = await desk.open()
    trace = Trace(provider)

    await asyncio.gather(*(provider.create_instance(make.new(f"i{n}")) for n in range(450)))

    assert trace.count("COMMIT") == 3


async def test_a_group_that_takes_too_long_leaves_the_rest_to_the_next(desk, make, monkeypatch):
    monkeypatch.setattr("perdure_sqlite._writes.writer._LONGEST_GROUP", 0)
    provider = await desk.open(durability="normal")
    trace = Trace(provider)

    await asyncio.gather(*(provider.send([make.event("a", id=f"{n}")]) for n in range(5)))

    assert trace.count("COMMIT") == 5
    turn = await desk.leased(provider, "a")
    assert [message.id for message in turn.messages] == ["start", *"01234"]


async def test_many_messages_are_sent_in_parts_that_keep_their_order(desk, make):
    provider = await desk.open(durability="normal")
    await provider.create_instance(make.new("a"))
    trace = Trace(provider)

    await provider.send([make.event("a", id=f"{n}") for n in range(1200)])

    assert trace.count("COMMIT") == 3
    (turn,) = await provider.lease_turns(make.request())
    assert [message.id for message in turn.messages[1:]] == [f"{n}" for n in range(999)]


async def test_the_fsync_is_made_outside_of_the_loop_and_only_where_something_can_be_lost(
    desk, make
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    writer = provider.opened.database.writer

    await provider.commit_turn(make.commit(turn, keep_for=LEASE))
    for_commits = writer.execute("PRAGMA synchronous").fetchone()
    await provider.renew_turns([TurnLease(instance="a", token=turn.token)], lease_for=LEASE)
    for_leases = writer.execute("PRAGMA synchronous").fetchone()

    assert (for_commits, for_leases) == ((2,), (1,))


async def test_with_normal_durability_nothing_is_synced(desk, make):
    provider = await desk.open(durability="normal")
    await provider.create_instance(make.new("a"))

    assert provider.opened.database.writer.execute("PRAGMA synchronous").fetchone() == (1,)


async def test_now_and_then_a_commit_goes_through_the_thread_to_keep_the_log_short(desk, make):
    provider = await desk.open(durability="normal")
    trace = Trace(provider)

    for n in range(202):
        await provider.send([make.event("a", id=str(n))])

    assert trace.count("PRAGMA wal_autocheckpoint=4000") == 1


async def test_refusals_in_a_group_leave_their_neighbours_alone(desk, make):
    provider = await desk.open()
    turns = {name: await desk.leased(provider, name) for name in "abcd"}
    trace = Trace(provider)

    answers = await asyncio.gather(
        provider.commit_turn(make.commit(turns["a"], events=(b"1",))),
        provider.commit_turn(make.commit(turns["b"], events=(b"1",), token=make.unique("other"))),
        provider.commit_turn(make.commit(turns["c"], events=(b"1",), expected_event=9)),
        provider.commit_turn(
            make.commit(
                turns["d"],
                events=(b"1",),
                remove=("start",),
                finish=(make.activity_lease("d", "x"),),
            )
        ),
        provider.create_instance(make.new("a", incarnation="two")),
        provider.create_instance(make.new("e")),
        return_exceptions=True,
    )

    kinds = [type(answer) for answer in answers]
    assert kinds[1:] == [
        LeaseLost,
        HistoryConflict,
        ActivityLeaseLost,
        InstanceAlreadyExists,
        type(None),
    ]
    assert trace.count("COMMIT") == 1
    found = [(await provider.read_instance(name)).last_event for name in "abcde"]
    assert found == [1, 0, 0, 0, 0]


async def test_one_of_several_lost_activities_keeps_the_others_from_being_finished(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    answer = await provider.commit_turn(
        make.commit(
            turn,
            add=(NewActivity(id="1", name="work", data=b"", lease=True),),
            keep_for=LEASE,
        )
    )
    held = make.activity_lease("a", "1")
    lost = make.activity_lease("a", "2")

    with pytest.raises(ActivityLeaseLost) as caught:
        await provider.commit_turn(make.commit(turn, finish=(held, lost)))

    assert caught.value.activities == ("2",)
    assert answer.activities_until is not None
    assert not await provider.renew_activities([held], lease_for=LEASE)


@pytest.fixture
def poisoned(desk):
    """Makes the database itself fail when an event with these bytes is written."""

    def poison(data: bytes) -> None:
        desk.raw().execute(
            "CREATE TRIGGER poison BEFORE INSERT ON perdure_events"
            f" WHEN new.data = x'{data.hex()}' BEGIN SELECT RAISE(ABORT, 'forced'); END"
        )

    return poison


async def test_a_database_error_in_a_group_fails_only_the_call_that_it_comes_from(
    desk, make, poisoned
):
    provider = await desk.open()
    turns = [await desk.leased(provider, f"i{n}") for n in range(5)]
    poisoned(b"bad")

    answers = await asyncio.gather(
        *(
            provider.commit_turn(make.commit(turn, events=(b"good", b"bad" if n == 2 else b"fine")))
            for n, turn in enumerate(turns)
        ),
        return_exceptions=True,
    )

    failed = [n for n, answer in enumerate(answers) if isinstance(answer, Exception)]
    assert failed == [2]
    assert isinstance(answers[2], StorageFailed)
    assert isinstance(answers[2].__cause__, sqlite3.IntegrityError)
    found = [(await provider.read_instance(f"i{n}")).last_event for n in range(5)]
    assert found == [2, 2, 0, 2, 2]


async def test_a_call_that_failed_can_be_made_again(desk, make, poisoned):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    poisoned(b"bad")
    commit = make.commit(turn, events=(b"bad",))
    with pytest.raises(StorageFailed):
        await provider.commit_turn(commit)
    desk.raw().execute("DROP TRIGGER poison")

    await provider.commit_turn(commit)

    assert (await provider.read_instance("a")).last_event == 1


async def test_a_queue_that_was_rolled_back_is_made_again(desk, make, poisoned):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    poisoned(b"bad")
    added = (NewActivity(id="1", name="work", data=b""),)

    await asyncio.gather(
        provider.create_instance(make.new("b", name="fresh")),
        provider.commit_turn(make.commit(turn, events=(b"bad",), add=added)),
        return_exceptions=True,
    )
    await provider.commit_turn(make.commit(turn, events=(b"good",), add=added))

    assert [activity.id for activity in await desk.activities(provider)] == ["1"]
    assert (await provider.read_instance("b")).name == "fresh"


async def test_a_full_disk_fails_the_call_and_says_so(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    writer = provider.opened.database.writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={pages + 2}").fetchone()

    with pytest.raises(StorageFailed, match="make room") as caught:
        await provider.send([make.event("a", data=bytes(100_000))])

    assert caught.value.operation == "send"
    assert not caught.value.retryable
    writer.execute("PRAGMA max_page_count=1000000").fetchone()
    await provider.send([make.event("a", data=bytes(100_000))])


async def test_a_damaged_page_is_reported_as_corrupt(desk, make):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)) as provider:
        for n in range(200):
            await provider.create_instance(make.new(f"instance-{n}"))
    damage(desk.path)

    provider = await desk.open()
    failures = []
    for n in range(200):
        try:
            await provider.read_instance(f"instance-{n}")
        except StorageCorrupt as error:
            failures.append(error)

    assert failures
    assert str(desk.path) in str(failures[0])


def damage(path) -> None:
    """Overwrite the pages of instances, and leave those that an open looks at."""
    raw = sqlite3.connect(path)
    found = "SELECT pageno FROM dbstat WHERE name = 'perdure_instances'"
    pages = [page for (page,) in raw.execute(found)] if has_dbstat(raw) else []
    (size,) = raw.execute("PRAGMA page_size").fetchone()
    raw.close()
    if not pages:
        pytest.skip("this SQLite has no dbstat table")
    with path.open("r+b") as file:
        for page in pages[1:]:
            file.seek((page - 1) * size)
            file.write(os.urandom(64))


def has_dbstat(raw: sqlite3.Connection) -> bool:
    try:
        raw.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return True


async def test_a_lock_of_another_program_is_waited_for(desk, make):
    provider = await desk.open(busy_timeout=20)
    raw = desk.raw()
    raw.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(provider.create_instance(make.new("a")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()

    raw.execute("COMMIT")
    await waiting

    assert await provider.read_instance("a") is not None


async def test_a_lock_that_stays_is_worth_another_try_later(desk, make):
    provider = await desk.open(busy_timeout=0)
    raw = desk.raw()
    raw.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable) as caught:
        await provider.create_instance(make.new("a"))

    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert await provider.read_instance("a") is None
    raw.execute("COMMIT")
    await provider.create_instance(make.new("a"))


async def test_reads_go_on_while_another_program_writes(desk, make):
    provider = await desk.open(busy_timeout=0)
    await provider.create_instance(make.new("a"))
    desk.raw().execute("BEGIN IMMEDIATE")

    assert (await provider.read_instance("a")).name == "process"


async def test_asking_for_work_where_there_is_none_takes_no_lock(desk, make):
    provider = await desk.open(busy_timeout=0)
    desk.raw().execute("BEGIN IMMEDIATE")

    assert await provider.lease_turns(make.request()) == ()
    assert await desk.activities(provider) == []
