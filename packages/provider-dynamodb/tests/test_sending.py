"""Sending under faults: what was put stays whole."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from perdure.contract import (
    Message,
    MessageKind,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls, Stall

LARGE = b"x" * 10_000


def event(name, data=LARGE):
    return Message(id=name, instance="one", kind=MessageKind.EVENT, data=data)


async def create(provider):
    await provider.create_instance(new_instance("one", incarnation="first", data=b""))


async def lease(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(
        token=uuid4().hex, limit=1, lease_for=timedelta(seconds=30), serves=serves
    )
    return await provider.lease_turns(request)


async def delivered(provider):
    [turn] = await lease(provider)
    return [(each.id, each.data) for each in turn.messages if each.id != "start"]


async def test_a_large_message_whose_answer_was_lost_keeps_its_payload(open_on_model, model):
    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model(faulty) as provider, open_on_model() as other:
        await create(provider)
        answers = iter([Fault.LOST_ANSWER])
        faulty.plan = lambda operation, _: (
            next(answers, None) if operation in ("PutItem", "TransactWriteItems") else None
        )
        await provider.send([event("e")])

        assert await delivered(other) == [("e", LARGE)]
    assert next(answers, None) is None


async def test_a_large_message_that_was_consumed_before_its_repeat_stays_consumed(
    open_on_model, model
):
    stall = Stall()
    sent = []

    def lose_the_answer_and_stall(operation, parameters):
        if operation != "TransactWriteItems":
            return None
        sent.append(operation)
        return {1: Fault.LOST_ANSWER, 2: stall}.get(len(sent))

    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model(faulty) as provider, open_on_model() as other:
        await create(provider)
        faulty.plan = lose_the_answer_and_stall
        sending = asyncio.create_task(provider.send([event("e")]))
        while len(sent) < 2:  # noqa: ASYNC110 # the second request is stalled
            await asyncio.sleep(0)
        [turn] = await lease(other)
        await other.commit_turn(
            commit_of(
                turn,
                remove=("start", "e"),
            )
        )
        stall.set()
        await sending

        assert await lease(other) == ()


async def test_the_payload_of_a_message_that_was_dropped_is_removed(open_on_model, model):
    async with open_on_model() as provider:
        await create(provider)
        await provider.send([event("e")])
        await provider.send([event("e", b"y" * 10_000)])

    chunks = [item for (_, sort), item in model.items.items() if sort.startswith("P#")]
    assert [item["dat"] for item in chunks] == [LARGE]
