"""A large commit leaves the event loop free in between, and is one commit all the same."""

import asyncio

import pytest
from perdure.contract import NewActivity
from perdure.errors import LeaseLost, StorageFailed
from perdure_sqlite import SQLiteProvider
from perdure_sqlite._operations import commits
from perdure_sqlite._writes import writer

COUNT = 1000
ADDED = tuple(NewActivity(id=f"1:{n}", name="work", data=b"{}") for n in range(COUNT))
EVENTS = tuple(b"%d" % n for n in range(COUNT))
PARTS = 2 * COUNT // commits._AT_ONCE


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a write ends its slice."""
    monkeypatch.setattr(writer, "_SLICE", -1)


async def begun(provider: SQLiteProvider) -> None:
    """Return when the first slice of a write has ended."""
    while not provider.opened.writer._is_open:  # noqa: ASYNC110 # a callback of the loop begins it
        await asyncio.sleep(0)


async def test_other_work_runs_between_the_parts_of_a_large_commit(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    rounds = 0

    committing = asyncio.ensure_future(
        provider.commit_turn(make.commit(turn, events=EVENTS, add=ADDED))
    )
    await begun(provider)
    while provider.opened.writer._is_open:
        rounds += 1
        await asyncio.sleep(0)
    await committing

    assert rounds >= PARTS - 2
    state = await provider.read_instance("a")
    assert state is not None
    assert state.last_event == COUNT
    assert len(await desk.activities(provider, limit=COUNT)) == COUNT


async def test_calls_that_come_meanwhile_are_carried_out_behind_it(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")

    commit = make.commit(turn, add=ADDED)
    answers = await asyncio.gather(
        provider.commit_turn(commit),
        provider.create_instance(make.new("b")),
        provider.commit_turn(commit),
    )

    assert answers[0] == answers[2]
    assert len(await desk.activities(provider, limit=COUNT + 1)) == COUNT


async def test_a_large_commit_that_is_refused_changes_nothing_beside_others(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    lost = make.activity_lease("a", "1:1")

    refused, created = await asyncio.gather(
        provider.commit_turn(make.commit(turn, events=EVENTS, add=ADDED, finish=(lost,))),
        provider.create_instance(make.new("b")),
        return_exceptions=True,
    )

    assert isinstance(refused, LeaseLost)
    assert created is None
    assert await desk.activities(provider) == []
    state = await provider.read_instance("a")
    assert state is not None
    assert state.last_event == 0


async def test_a_large_commit_that_fails_halfway_is_rolled_back_and_its_neighbours_stand(
    desk, make, monkeypatch
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    add = commits.add_activity

    def fails(transaction, row, new, **lease):
        if new.id == f"1:{COUNT - 1}":
            raise RuntimeError("broken")
        add(transaction, row, new, **lease)

    monkeypatch.setattr(commits, "add_activity", fails)

    failed, created = await asyncio.gather(
        provider.commit_turn(make.commit(turn, events=EVENTS, add=ADDED)),
        provider.create_instance(make.new("b")),
        return_exceptions=True,
    )

    assert isinstance(failed, StorageFailed)
    assert created is None
    assert await desk.activities(provider) == []
    assert await provider.read_instance("b") is not None


async def test_a_caller_that_is_cancelled_in_between_waits_until_the_commit_is_settled(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    committing = asyncio.ensure_future(provider.commit_turn(make.commit(turn, add=ADDED)))
    await begun(provider)

    committing.cancel()
    await asyncio.wait([committing])

    assert not provider.opened.writer.is_in_use
    assert len(await desk.activities(provider, limit=COUNT)) == COUNT


async def test_closing_waits_for_a_large_commit_under_way(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    committing = asyncio.ensure_future(provider.commit_turn(make.commit(turn, add=ADDED)))
    await begun(provider)

    await provider.__aexit__(None, None, None)

    await committing
    again = await desk.open()
    assert len(await desk.activities(again, limit=COUNT)) == COUNT
