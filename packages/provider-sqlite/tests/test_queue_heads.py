"""What a look costs: constant, whatever is stored, was stored, or waits for others.

Counted are the steps of SQLite's machine, over both connections of a provider.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    LeasedActivity,
    NewActivity,
    Serves,
    TurnLease,
    TurnRelease,
    WorkWait,
)
from perdure.errors import StorageFailed
from perdure_sqlite import SQLiteProvider

MINUTE = timedelta(minutes=1)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
NOTHING = Serves(orchestrations={})
STORED = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
    INSERT INTO perdure_instances (
        namespace, id, incarnation, name, engine, status, execution, started_at, last_event,
        created_at, updated_at, attempt, released_at, arrivals, fronts)
    SELECT 1, 'stored-' || n, 'one', 'process', 1, :status, 1, 0, 0, 0, 0, 0, 0, 0, 0 FROM numbers
"""


class Steps:
    """Counts steps of the machine."""

    def __init__(self) -> None:
        self.count = 0

    def step(self) -> int:
        self.count += 1
        return 0


@contextmanager
def steps_of(provider: SQLiteProvider) -> Iterator[Steps]:
    steps = Steps()
    database = provider.opened.database
    for connection in (database.reader, database.writer):
        connection.set_progress_handler(steps.step, 1)
    yield steps
    for connection in (database.reader, database.writer):
        connection.set_progress_handler(None, 0)


async def cost(provider: SQLiteProvider, look: Callable[[], Awaitable[object]]) -> int:
    """The steps of a look, after one that prepares the statements."""
    await look()
    with steps_of(provider) as steps:
        await look()
    return steps.count


def stored(raw: sqlite3.Connection, status: str, count: int) -> None:
    raw.execute(STORED, {"count": count, "status": status})


def queues(raw: sqlite3.Connection, kind: str) -> int:
    return raw.execute(f"SELECT count(*) FROM perdure_{kind}_queues").fetchone()[0]  # noqa: S608 # one of two words


def looks(provider, desk, make) -> dict[str, Callable[[], Awaitable[object]]]:
    """All kinds of idle looks."""
    names = frozenset({"work"})
    wait = WorkWait(
        timeout=timedelta(0), serves=make.request().serves, activity_names=frozenset({"work"})
    )
    return {
        "turns": lambda: provider.lease_turns(make.request()),
        "unregistered turns": lambda: provider.lease_turns(make.request(unregistered_for=MINUTE)),
        "activities": lambda: desk.activities(provider),
        "tagged activities": lambda: desk.activities(provider, tags=frozenset({"mine", None})),
        "unregistered activities": lambda: desk.activities(provider, unregistered_for=MINUTE),
        "waiting": lambda: provider.wait_for_work(wait),
        "served names": lambda: desk.activities(provider, names=names | {"other"}),
    }


KINDS = (
    "turns",
    "unregistered turns",
    "activities",
    "tagged activities",
    "unregistered activities",
    "waiting",
    "served names",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_look_does_not_see_what_is_stored(desk, make, kind):
    provider = await desk.open()
    look = looks(provider, desk, make)[kind]
    before = await cost(provider, look)
    raw = desk.raw()
    stored(raw, "Completed", 100_000)
    raw.execute("UPDATE perdure_instances SET status = 'Running' WHERE number % 3 = 0")

    after = await cost(provider, look)

    assert before > 10
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_look_does_not_see_tags_that_were(desk, make, kind):
    provider = await desk.open()
    look = looks(provider, desk, make)[kind]
    before = await cost(provider, look)
    turn = await desk.leased(provider, "a")
    added = tuple(
        NewActivity(id=f"1:{n}", name="work", data=b"", tag=f"tag-{n}") for n in range(10_000)
    )
    await provider.commit_turn(make.commit(turn, add=added, keep_for=MINUTE))
    await provider.commit_turn(make.commit(turn, end=COMPLETED))
    await desk.activities(provider, unregistered_for=MINUTE)
    await provider.lease_turns(make.request(unregistered_for=MINUTE))

    after = await cost(provider, look)

    assert after == before
    assert queues(desk.raw(), "activity") == 0


@pytest.mark.slow
async def test_a_look_for_what_is_served_does_not_see_tags_and_versions_that_wait_for_others(
    desk, make
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    for begin in range(0, 10_000, 2500):
        added = tuple(
            NewActivity(id=f"1:{n}", name="work", data=b"", tag=f"tag-{n}")
            for n in range(begin, begin + 2500)
        )
        await provider.commit_turn(make.commit(turn, add=added, keep_for=MINUTE))
    for number in range(300):
        await provider.create_instance(make.new(f"i-{number}", version=f"0.{number}.0"))

    found = {
        kind: await cost(provider, looks(provider, desk, make)[kind])
        for kind in ("turns", "activities", "tagged activities", "waiting")
    }

    assert max(found.values()) < 1000


async def test_tags_without_a_runtime_are_found_oldest_first_however_many(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    for number in range(40):
        new = NewActivity(id=f"1:{number:02}", name="work", data=b"", tag=f"tag-{39 - number}")
        await provider.commit_turn(make.commit(turn, add=(new,), keep_for=MINUTE))
        desk.clock.advance(timedelta(milliseconds=1))
    desk.clock.advance(MINUTE)

    found: list[LeasedActivity] = []
    for _ in range(5):
        found += await desk.activities(provider, limit=9, unregistered_for=MINUTE)

    assert [each.id for each in found] == [f"1:{number:02}" for number in range(40)]


async def test_a_queue_is_dropped_when_it_is_empty_and_made_again_when_work_comes(desk, make):
    first, second = await desk.open(), await desk.open()
    raw = desk.raw()
    counts: list[tuple[int, int]] = []
    for number in range(3):
        provider, other = (first, second) if number % 2 else (second, first)
        turn = await desk.leased(provider, f"i-{number}")
        new = NewActivity(id="1:1", name="work", data=b"")
        await provider.commit_turn(make.commit(turn, add=(new,), keep_for=MINUTE))
        counts.append((queues(raw, "turn"), queues(raw, "activity")))
        (leased,) = await desk.activities(other)
        await provider.commit_turn(make.commit(turn, finish=(leased.lease,), end=COMPLETED))

        await desk.activities(other, unregistered_for=MINUTE)
        await other.lease_turns(make.request(unregistered_for=MINUTE))

        counts.append((queues(raw, "turn"), queues(raw, "activity")))
    assert counts == [(1, 1), (0, 0)] * 3


async def test_an_instance_without_mail_is_found_again_though_its_queue_was_dropped(desk, make):
    first, second = await desk.open(), await desk.open()
    turn = await desk.leased(first, "a")
    await first.commit_turn(make.commit(turn, remove=("start",)))
    await second.lease_turns(make.request(unregistered_for=MINUTE))
    dropped = queues(desk.raw(), "turn")
    await second.create_instance(make.new("other", name="another"))
    await first.send([make.event("a")])

    found = await second.lease_turns(make.request())

    assert dropped == 0
    assert [each.state.instance for each in found] == ["a"]


async def test_a_lease_that_is_kept_without_mail_outlives_its_queue(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, remove=("start",), keep_for=MINUTE))
    await provider.lease_turns(make.request(serves=NOTHING, unregistered_for=MINUTE))

    gone = await provider.renew_turns([TurnLease(instance="a", token=turn.token)], lease_for=MINUTE)
    await provider.send([make.event("a")])
    await provider.release_turn(
        TurnRelease(lease=TurnLease(instance="a", token=turn.token), counted=False)
    )
    found = await provider.lease_turns(make.request())

    assert gone == frozenset()
    assert [each.state.instance for each in found] == ["a"]


async def test_a_group_that_fails_after_dropping_a_queue_leaves_nothing_without_one(
    desk, make, monkeypatch
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, remove=("start",)))
    original = provider.transaction.finish
    failures = [sqlite3.OperationalError("forced")]

    def fails_once() -> None:
        original()
        if failures:
            raise failures.pop()

    monkeypatch.setattr(type(provider.transaction), "finish", lambda self: fails_once())
    with pytest.raises(StorageFailed):
        await provider.lease_turns(make.request(unregistered_for=MINUTE))
    await provider.send([make.event("a")])

    found = await provider.lease_turns(make.request())

    assert [each.state.instance for each in found] == ["a"]
