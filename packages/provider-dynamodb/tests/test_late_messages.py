"""Messages that come when their instance has just ended or gone: they are void, and none stays.

The sender has seen the instance run. Another process removes what it leaves if it dies then.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from perdure.contract import ExecutionEnd, InstanceStatus, Message, MessageKind, TurnRequest
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import LEASE, SERVES, commit_of, new_instance
from perdure_dynamodb._litter import GRACE
from perdure_dynamodb.testing.faults import Fault, FaultyCalls, Stall

ALPHA = "test#I#alpha"
END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")
LATE = Message(id="late", instance="alpha", kind=MessageKind.EVENT, data=b"")


class Sender:
    """A transport that holds the put of the message, and dies at a request that the test names."""

    def __init__(self, model, dies_at=None):
        self.calls = FaultyCalls(model, self._fate)
        self._dies_at = dies_at
        self._put = Stall()
        self._is_put = self._is_dead = False

    def _fate(self, operation, parameters):
        text = str(parameters)
        if not self._is_put and operation in ("PutItem", "TransactWriteItems") and "M#late" in text:
            self._is_put = True
            return self._put
        if self._is_put and self._dies_at is not None:
            name, part = self._dies_at
            self._is_dead = self._is_dead or (operation == name and part in text)
        return Fault.LOST_REQUEST if self._is_dead else None

    async def is_about_to_put(self):
        await settle()
        assert self._is_put

    async def goes_on(self, sending):
        self._put.set()
        with suppress(StorageUnavailable):
            await sending
        await settle()
        assert self._is_dead or self._dies_at is None


async def settle():
    for _ in range(200):
        await asyncio.sleep(0)


async def lease(provider, instance="alpha"):
    request = TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=SERVES)
    turns = await provider.lease_turns(request)
    return [turn for turn in turns if turn.state.instance == instance]


async def end(provider):
    [turn] = await lease(provider)
    await provider.commit_turn(commit_of(turn, remove=("start",), end=END))
    await settle()


async def look_for_a_while(provider, clock):
    for _ in range(3):
        clock.advance(GRACE)
        await lease(provider)
        await settle()


def left(model):
    return sorted(sort for partition, sort in model.items if partition == ALPHA)


async def send(provider):
    await provider.create_instance(new_instance())
    return asyncio.create_task(provider.send([LATE]))


async def commit(provider):
    await provider.create_instance(new_instance("sender"))
    [turn] = await lease(provider, "sender")
    await provider.create_instance(new_instance())
    return asyncio.create_task(provider.commit_turn(commit_of(turn, send=(LATE,), end=END)))


SIGNAL, LOOK, REMOVAL = ("UpdateItem", "sig"), ("Query", "'M#'"), ("DeleteItem", "M#late")
CASES = [
    *((send, fate) for fate in (None, LOOK, REMOVAL)),
    *((commit, fate) for fate in (None, SIGNAL, LOOK, REMOVAL)),
]


@pytest.mark.parametrize(("begin", "dies_at"), CASES)
async def test_a_message_that_comes_when_its_instance_has_ended_is_removed(
    begin, dies_at, open_on_model, model, clock
):
    sender = Sender(model, dies_at)
    async with open_on_model(sender.calls) as first, open_on_model() as other:
        sending = await begin(first)
        await sender.is_about_to_put()
        await end(other)
        assert left(model) == ["A", "B"]

        await sender.goes_on(sending)
        await look_for_a_while(other, clock)

        assert left(model) == ["A", "B"]
        assert "gpk" not in model.items[ALPHA, "A"]


@pytest.mark.parametrize(("begin", "dies_at"), CASES)
async def test_a_message_that_comes_when_its_instance_is_deleted_is_removed(
    begin, dies_at, open_on_model, model, clock
):
    sender = Sender(model, dies_at)
    async with open_on_model(sender.calls) as first, open_on_model() as other:
        sending = await begin(first)
        await sender.is_about_to_put()
        await end(other)
        await other.delete_instance("alpha", incarnation="alpha@1")
        assert left(model) == []

        await sender.goes_on(sending)
        await look_for_a_while(other, clock)

        assert left(model) == []


async def test_a_removal_that_has_not_seen_a_message_leaves_its_instance_in_the_queue(
    open_on_model, model, clock
):
    """One process is about to take the ended instance out of the queue, and another one sends and dies."""
    stall = Stall()
    last = FaultyCalls(model, lambda _, parameters: stall if is_last(parameters) else None)
    sender = Sender(model, LOOK)
    async with (
        open_on_model(sender.calls) as first,
        open_on_model(last) as second,
        open_on_model() as other,
    ):
        sending = await send(first)
        await sender.is_about_to_put()
        await end(second)
        await sender.goes_on(sending)
        stall.set()
        await settle()
        assert "M#late" in left(model)

        await look_for_a_while(other, clock)

        assert left(model) == ["A", "B"]


def is_last(parameters):
    """Whether a request takes an ended instance out of the queue."""
    return parameters.get("UpdateExpression") == "REMOVE gpk, gsk"


async def test_a_message_is_removed_when_its_instance_is_deleted_while_it_is_signalled(
    open_on_model, model
):
    """The signal has met the ended instance, and then there is none."""
    stall = Stall()
    calls = FaultyCalls(model, lambda _, parameters: stall if stands_again(parameters) else None)
    sender = Sender(calls)
    async with open_on_model(sender.calls) as first, open_on_model() as other:
        sending = await send(first)
        await sender.is_about_to_put()
        await end(other)
        going_on = asyncio.create_task(sender.goes_on(sending))
        await settle()
        assert left(model) == ["A", "B", "M#late"]
        await other.delete_instance("alpha", incarnation="alpha@1")

        stall.set()
        await going_on

        assert left(model) == []


def stands_again(parameters):
    """Whether a request puts an ended instance back into the queue."""
    is_ended = "stat <> :running" in str(parameters.get("ConditionExpression"))
    return is_ended and "gpk = :queue" in str(parameters.get("UpdateExpression"))
