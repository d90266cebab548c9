"""Large messages whose sender knows no life of their recipient, while that ends and begins again.

Their parts stand in the partition of the recipient before the message does. Whatever is removed there
meanwhile, a message that is delivered has its payload.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from uuid import uuid4

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import LEASE, SERVES, commit_of, new_instance, reopening
from perdure_dynamodb import _commits, _litter, _manifest, _payloads
from perdure_dynamodb._litter import GRACE
from perdure_dynamodb.testing.faults import FaultyCalls, Stall

LARGE = os.urandom(20_000)
END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")


class Paused:
    """A transport that holds the first request of one kind which names all the given things."""

    def __init__(self, model, operation, *parts):
        self.calls = FaultyCalls(model, self._fate)
        self._operation = operation
        self._parts = parts
        self._stall = Stall()
        self._is_reached = False

    def _fate(self, operation, parameters):
        is_it = operation == self._operation and all(
            part in str(parameters) for part in self._parts
        )
        if not is_it or self._is_reached:
            return None
        self._is_reached = True
        return self._stall

    async def reached(self):
        for _ in range(500):
            if self._is_reached:
                return
            await asyncio.sleep(0)
        raise AssertionError("no such request was made")

    async def go_on(self):
        self._stall.set()
        await settle()


async def settle():
    for _ in range(300):
        await asyncio.sleep(0)


async def lease(provider, instance):
    request = TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=SERVES)
    turns = await provider.lease_turns(request)
    return [turn for turn in turns if turn.state.instance == instance]


def look_for_nothing():
    serves = Serves(orchestrations={})
    return TurnRequest(token=uuid4().hex, limit=1, lease_for=LEASE, serves=serves)


async def begin(provider, instance):
    await provider.create_instance(new_instance(instance))
    [turn] = await lease(provider, instance)
    return turn


async def end(provider, instance):
    [turn] = await lease(provider, instance)
    await provider.commit_turn(commit_of(turn, end=END))
    await settle()


def event(instance, data=LARGE):
    return Message(id="told", instance=instance, kind=MessageKind.EVENT, data=data)


async def data_of(provider, instance):
    [turn] = await lease(provider, instance)
    return {each.id: each.data for each in turn.messages}["told"]


def left_over(model):
    """The keys of parts of payloads, of manifests and of markers."""
    return sorted(sort for _, sort in model.items if sort[:2] in ("P#", "Q#", "G#"))


async def reopen(provider):
    await provider.reopen_instance(reopening())


async def create_again(provider):
    await provider.delete_instance("alpha", incarnation="alpha@1")
    await provider.create_instance(new_instance("alpha"))


async def replace(provider):
    new = new_instance("alpha", incarnation="alpha@2")
    await provider.create_instance(dataclasses.replace(new, replaces="alpha@1"))


@pytest.fixture
def staged(monkeypatch):
    monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
    monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)


@pytest.mark.parametrize("how", ["in one transaction", "staged"])
@pytest.mark.parametrize("again", [reopen, create_again, replace])
async def test_a_message_that_is_sent_while_its_recipient_ends_and_begins_again_is_whole(
    again, how, open_on_model, model, request
):
    if how == "staged":
        request.getfixturevalue("staged")
    # What was committed has not even looked at its recipient.
    paused = Paused(model, "BatchGetItem", "#alpha")
    async with open_on_model(paused.calls) as first, open_on_model() as other:
        turn = await begin(first, "sender")
        await other.create_instance(new_instance("alpha"))
        sent = asyncio.create_task(first.commit_turn(commit_of(turn, send=(event("alpha"),))))
        await paused.reached()
        await end(other, "alpha")
        await again(other)
        await settle()

        await paused.go_on()
        await sent

        assert await data_of(other, "alpha") == LARGE
        assert [sort[:2] for sort in left_over(model)] == ["P#"]


@pytest.mark.usefixtures("staged")
async def test_a_message_of_a_commit_that_another_process_finishes_hours_later_is_whole(
    open_on_model, model, clock
):
    paused = Paused(model, "TransactWriteItems", "M#told")
    async with open_on_model(paused.calls) as first, open_on_model() as other:
        turn = await begin(first, "sender")
        sent = asyncio.create_task(first.commit_turn(commit_of(turn, send=(event("alpha"),))))
        await paused.reached()

        clock.advance(4 * GRACE)
        await other.lease_turns(look_for_nothing())
        await settle()
        await lease(other, "sender")
        await paused.go_on()
        await sent

        await other.create_instance(new_instance("alpha"))
        assert await data_of(other, "alpha") == LARGE
        assert [sort[:2] for sort in left_over(model)] == ["P#"]


@pytest.mark.usefixtures("staged")
async def test_a_marker_that_the_index_shows_after_the_decision_is_not_swept(
    open_on_model, model, clock
):
    decision = Paused(model, "TransactWriteItems", "stn")
    sweep = Paused(model, "UpdateItem", "swp")
    async with open_on_model(decision.calls) as first, open_on_model(sweep.calls) as other:
        turn = await begin(first, "sender")
        await first.create_instance(new_instance("alpha"))
        sent = asyncio.create_task(first.commit_turn(commit_of(turn, send=(event("alpha"),))))
        await decision.reached()
        clock.advance(GRACE)
        looked = asyncio.create_task(other.lease_turns(look_for_nothing()))
        await sweep.reached()
        batch = Paused(model, "TransactWriteItems", "M#told")
        first.table.calls._inner = batch.calls
        await decision.go_on()
        await batch.reached()

        await sweep.go_on()
        await looked
        await batch.go_on()
        await sent

        assert await data_of(other, "alpha") == LARGE
        assert [sort[:2] for sort in left_over(model)] == ["P#"]


async def test_a_commit_sends_large_messages_to_more_instances_than_a_transaction_has_actions(
    open_on_model, model, monkeypatch
):
    monkeypatch.setattr(_payloads, "INLINE_LIMIT", 4)
    monkeypatch.setattr(_litter, "MARKER_BYTES", 5_000)
    async with open_on_model() as provider:
        turn = await begin(provider, "sender")
        names = [f"recipient {number}" for number in range(120)]
        await provider.commit_turn(
            commit_of(turn, send=tuple(event(name, name.encode()) for name in names))
        )

        for name in names[::40]:
            await provider.create_instance(new_instance(name))
            assert await data_of(provider, name) == name.encode()
        assert not [sort for sort in left_over(model) if sort[:2] != "P#"]


async def test_deleting_a_namespace_removes_parts_that_stand_where_no_instance_is(
    open_on_model, model
):
    paused = Paused(model, "TransactWriteItems", "M#told")
    async with open_on_model(paused.calls) as first, open_on_model() as other:
        turn = await begin(first, "sender")
        sent = asyncio.create_task(first.commit_turn(commit_of(turn, send=(event("absent"),))))
        await paused.reached()

        await other.delete_namespace()

        assert not left_over(model)
        sent.cancel()
