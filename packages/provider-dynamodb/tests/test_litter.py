"""What processes leave behind that die in the middle: all of it is removed in time."""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import commit_of
from perdure_dynamodb import _commits, _manifest
from perdure_dynamodb._litter import GRACE
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

LEASE = timedelta(seconds=30)
LARGE = os.urandom(20_000)
END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"1")


async def create(provider):
    start = Message(
        id="start", instance="alpha", kind=MessageKind.START, data=b"", incarnation="first"
    )
    await provider.create_instance(
        NewInstance(instance="alpha", incarnation="first", name="flow", start=start)
    )


async def lease(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=serves)
    )


async def look_for_a_while(provider, clock):
    for _ in range(3):
        clock.advance(GRACE)
        await lease(provider)
        work = ActivityRequest(
            token=uuid4().hex, limit=10, lease_for=LEASE, names=frozenset({"work"})
        )
        await provider.lease_activities(work)
        for _ in range(100):
            await asyncio.sleep(0)


def kinds(model):
    return sorted(key[1][:2] for key in model.items if key[0] == "test#I#alpha")


class Dying(FaultyCalls):
    """A process that dies at the first transaction after it was doomed, before or after it."""

    def __init__(self, model):
        super().__init__(model, self.fate)
        self.doomed = self.dead = self.after = False

    def fate(self, operation, parameters):
        if self.dead:
            return Fault.LOST_REQUEST
        if self.doomed and operation == "TransactWriteItems":
            self.dead = True
            return Fault.LOST_ANSWER if self.after else Fault.LOST_REQUEST
        return None


@pytest.mark.parametrize("count", [1, 200], ids=["one transaction", "staged"])
async def test_chunks_of_a_commit_that_died_before_its_transaction_are_removed(
    count, open_on_model, model, clock
):
    dying = Dying(model)
    async with open_on_model(dying) as dead, open_on_model() as other:
        await create(dead)
        [turn] = await lease(dead)
        dying.doomed = True
        works = tuple(NewActivity(id=f"w{n}", name="work", data=LARGE) for n in range(count))
        with suppress(StorageUnavailable):
            await dead.commit_turn(commit_of(turn, events=(LARGE,), add=works))
        assert {"P#", "X#", "G#"} <= set(kinds(model))

        await look_for_a_while(other, clock)

        assert set(kinds(model)) == {"A", "B", "M#"}


async def test_a_writer_that_is_too_slow_begins_again(open_on_model, model, clock):
    stalled = asyncio.Event()

    class Slow:
        async def call(self, operation, parameters):
            if (
                operation == "TransactWriteItems"
                and "H#" in str(parameters)
                and not stalled.is_set()
            ):
                stalled.set()
                await look_for_a_while(other, clock)
            return await model.call(operation, parameters)

    async with open_on_model(Slow()) as provider, open_on_model() as other:
        await create(provider)
        [turn] = await lease(provider)
        await provider.send([Message(id="e", instance="alpha", kind=MessageKind.EVENT, data=b"")])
        # The look of the other would take the lease, which ran out long ago.
        serves_nothing = TurnRequest(
            token=uuid4().hex,
            limit=1,
            lease_for=LEASE,
            serves=Serves(orchestrations={}),  # no secret
        )
        real = other.lease_turns
        other.lease_turns = lambda _: real(serves_nothing)
        await provider.commit_turn(commit_of(turn, events=(LARGE,), keep_for=LEASE))

        page = await other.read_history("alpha", 1, incarnation="first")

    assert stalled.is_set()
    assert [event.data for event in page.events] == [LARGE]
    assert kinds(model).count("X#") == 1
    assert "G#" not in kinds(model)


async def test_what_an_instance_leaves_is_removed_though_its_process_dies_after_the_end(
    open_on_model, model, clock
):
    dying = Dying(model)
    due = clock.now() + 10**13
    async with open_on_model(dying) as dead, open_on_model() as other:
        await create(dead)
        [turn] = await lease(dead)
        timer = Message(
            id="timer",
            instance="alpha",
            kind=MessageKind.TIMER,
            data=LARGE,
            incarnation="first",
            visible_at=due,
        )
        work = NewActivity(id="w", name="work", data=LARGE)
        await dead.commit_turn(
            commit_of(turn, events=(b"1",), add=(work,), send=(timer,), keep_for=LEASE)
        )
        dying.doomed = dying.after = True
        end = commit_of(turn, events=(b"2",), end=END)
        with suppress(StorageUnavailable):
            await dead.commit_turn(
                TurnCommit(**{**{f: getattr(end, f) for f in end.__slots__}, "expected_event": 1})
            )
        assert {"P#", "M#", "W#"} <= set(kinds(model))

        await look_for_a_while(other, clock)

        assert set(kinds(model)) == {"A", "B", "H#"}
        assert "gpk" not in model.items["test#I#alpha", "A"]


async def test_the_messages_that_the_last_turn_consumed_are_removed(open_on_model, model):
    async with open_on_model() as provider:
        await create(provider)
        [turn] = await lease(provider)
        await provider.commit_turn(commit_of(turn, remove=("start",), events=(b"1",), end=END))
        for _ in range(100):
            await asyncio.sleep(0)

    assert kinds(model) == ["A", "B", "H#"]


async def test_a_large_event_for_an_ended_instance_keeps_its_marker_until_its_chunks_are_gone(
    open_on_model, model, clock
):
    dying = Dying(model)
    async with open_on_model(dying) as dead, open_on_model() as other:
        await create(other)
        [turn] = await lease(other)
        await other.commit_turn(commit_of(turn, end=END))
        dying.doomed = dying.after = True
        event = Message(id="late", instance="alpha", kind=MessageKind.EVENT, data=LARGE)
        with suppress(StorageUnavailable):
            await dead.send([event])
        await look_for_a_while(other, clock)

    assert set(kinds(model)) == {"A", "B"}


async def test_a_message_that_comes_when_its_instance_ends_is_removed(open_on_model, model, clock):
    ended = asyncio.Event()

    class Late:
        async def call(self, operation, parameters):
            if operation == "PutItem" and "M#late" in str(parameters) and not ended.is_set():
                ended.set()
                [turn] = await lease(other)
                await other.commit_turn(commit_of(turn, end=END))
            return await model.call(operation, parameters)

    async with open_on_model(Late()) as provider, open_on_model() as other:
        await create(provider)
        await provider.send(
            [Message(id="late", instance="alpha", kind=MessageKind.EVENT, data=b"")]
        )
        for _ in range(100):
            await asyncio.sleep(0)

        assert ended.is_set()
        assert set(kinds(model)) == {"A", "B"}


@pytest.mark.parametrize("again", [None, AGAIN], ids=["in its execution", "in the next one"])
async def test_a_large_message_that_is_put_to_the_front_leaves_no_parts_behind(
    again, open_on_model, model
):
    async with open_on_model() as provider:
        await create(provider)
        event = Message(id="large", instance="alpha", kind=MessageKind.EVENT, data=LARGE)
        await provider.send([event])
        [turn] = await lease(provider)
        await provider.commit_turn(
            commit_of(turn, remove=("start",), front=(event,), end=again, events=(b"1",))
        )
        for _ in range(100):
            await asyncio.sleep(0)
        [turn] = await lease(provider)

    assert [message.data for message in turn.messages] == [LARGE]
    assert kinds(model).count("P#") == 1


@pytest.mark.parametrize("staged", [False, True])
async def test_a_large_message_whose_id_is_held_leaves_no_parts_behind(
    staged, open_on_model, model, monkeypatch
):
    if staged:
        monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
        monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)
    event = Message(id="large", instance="alpha", kind=MessageKind.EVENT, data=LARGE)
    async with open_on_model() as provider:
        await create(provider)
        await provider.send([event])
        [turn] = await lease(provider)
        await provider.commit_turn(
            commit_of(turn, remove=("start",), send=(event,), events=(b"1",))
        )
        for _ in range(100):
            await asyncio.sleep(0)
        [turn] = await lease(provider)

    assert [message.data for message in turn.messages] == [LARGE]
    assert kinds(model).count("P#") == 1
