"""Packed histories: what an ended execution keeps of its events, and that it comes back as it was."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from perdure.contract import (
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    pack_history,
)
from perdure.errors import StorageCorrupt

LEASE = timedelta(seconds=30)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
CONTINUED = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")
EVENTS = (b'{"kind":"a"}', b"", b'{"kind":"a","at":1}')


def packed_in(desk) -> dict[tuple[str, int], bytes | None]:
    """The packed histories of the file, by instance and execution."""
    found = desk.raw().execute(
        "SELECT id, perdure_executions.execution, history FROM perdure_executions"
        " JOIN perdure_instances ON number = instance"
    )
    return {(instance, execution): data for instance, execution, data in found}


def unpacked_in(desk) -> int:
    (count,) = desk.raw().execute("SELECT count(*) FROM perdure_events").fetchone()
    return count


async def read(provider, execution=1, *, after=0, instance="a") -> list[tuple[int, bytes]]:
    page = await provider.read_history(instance, execution, incarnation="one", after=after)
    assert not page.more
    return [(event.number, event.data) for event in page.events]


async def ended(desk, make, provider, events=EVENTS, end=COMPLETED, **fields: Any) -> None:
    """An instance `a` that ends with its second commit."""
    turn = await desk.leased(provider, "a")
    first = make.commit(turn, events=events[:-1], keep_for=LEASE)
    await provider.commit_turn(first)
    last = make.commit(
        turn, expected_event=len(events) - 1, events=events[-1:], remove=("start",), end=end
    )
    await provider.commit_turn(last)


async def test_a_packed_history_is_read_from_any_event_on(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    admin = provider.as_management_capability()
    numbered = list(enumerate(EVENTS, 1))

    assert unpacked_in(desk) == 0
    for after in range(4):
        assert await read(provider, after=after) == numbered[after:]
        page = await admin.read_events("a", 1, after=after)
        assert [(event.number, event.data) for event in page.events] == numbered[after:]
    executions = await admin.list_executions("a")
    assert [each.event_count for each in executions] == [3]


async def test_a_packed_history_is_given_in_pages(desk, make):
    provider = await desk.open()
    many = tuple(b"%d" % number for number in range(MAX_PACKED_EVENTS))
    await ended(desk, make, provider, many)
    found: list[bytes] = []
    more, after = True, 0

    while more:
        page = await provider.read_history("a", 1, incarnation="one", after=after)
        found += [event.data for event in page.events]
        more, after = page.more, page.events[-1].number

    assert tuple(found) == many
    assert unpacked_in(desk) == 0


async def test_a_history_that_is_too_large_stays_as_it_is(desk, make):
    provider = await desk.open()
    noise = random.Random(1).randbytes(MAX_PACKED_BYTES)
    turn = await desk.leased(provider, "a")
    for number, events in enumerate([(noise, b"2"), (b"1", noise), (b"x",) * 600], 1):
        await provider.commit_turn(
            make.commit(turn, execution=number, expected_event=0, events=events[:1], keep_for=LEASE)
        )
        commit = make.commit(
            turn,
            execution=number,
            expected_event=1,
            events=events[1:],
            end=CONTINUED,
            keep_for=LEASE,
        )
        await provider.commit_turn(commit)

    assert packed_in(desk) == {("a", 1): None, ("a", 2): None, ("a", 3): None}
    assert await read(provider, 1) == [(1, noise), (2, b"2")]
    assert await read(provider, 2, after=1) == [(2, noise)]
    assert len(await read(provider, 3)) == 600


async def test_each_execution_is_packed_as_it_ends_and_reopening_leaves_it(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    start = replace(make.new("a").start, id="again", execution=2)
    again = InstanceReopening(id="r", instance="a", incarnation="one", execution=1, start=start)
    await provider.reopen_instance(again)
    (turn,) = await provider.lease_turns(make.request())
    await provider.commit_turn(make.commit(turn, events=(b"second",)))

    assert await read(provider, 1) == list(enumerate(EVENTS, 1))
    assert await read(provider, 2) == [(1, b"second")]
    assert unpacked_in(desk) == 1


async def test_a_repeated_commit_of_the_end_is_carried_out_once(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    commit = make.commit(turn, events=EVENTS, remove=("start",), end=COMPLETED)

    answers = await asyncio.gather(provider.commit_turn(commit), provider.commit_turn(commit))

    assert answers[0] == answers[1]
    assert await read(provider) == list(enumerate(EVENTS, 1))


@pytest.mark.parametrize(
    "damage",
    ["x'00'", "substr(history, 1, length(history) - 1)", "'text'", "x''"],
)
async def test_a_damaged_packed_history_is_told_with_the_instance_and_the_execution(
    desk, make, damage
):
    provider = await desk.open()
    await ended(desk, make, provider)
    desk.raw().execute(f"UPDATE perdure_executions SET history = {damage}")  # noqa: S608

    for reading in (read(provider), provider.as_management_capability().read_events("a", 1)):
        with pytest.raises(StorageCorrupt, match="'a' is damaged: the history of execution 1"):
            await reading
    state = await provider.read_instance("a")

    assert state is not None
    assert state.output == b"done"


async def test_a_packed_history_of_another_execution_is_damage(desk, make):
    provider = await desk.open()
    await ended(desk, make, provider)
    desk.raw().execute("UPDATE perdure_executions SET history = ?", (pack_history(EVENTS[:2]),))

    with pytest.raises(StorageCorrupt, match="'a'"):
        await read(provider)


@pytest.mark.parametrize(
    "lose",
    [
        "DELETE FROM perdure_events WHERE event = 1",
        "DELETE FROM perdure_events WHERE event = 2",
        "UPDATE perdure_events SET data = 'text' WHERE event = 2",
    ],
)
async def test_a_history_that_lost_an_event_before_its_end_is_not_packed_over(desk, make, lose):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, events=(b"1", b"2"), keep_for=LEASE))
    desk.raw().execute(lose)
    last = make.commit(turn, expected_event=2, events=(b"3",), end=COMPLETED)
    await provider.commit_turn(last)

    with pytest.raises(StorageCorrupt, match="'a'"):
        await read(provider)
