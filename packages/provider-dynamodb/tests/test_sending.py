"""Sending under faults: what was put stays whole."""

from datetime import timedelta
from uuid import uuid4

from perdure.contract import (
    Message,
    MessageKind,
    NewInstance,
    Serves,
    TurnRequest,
)
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

LARGE = b"x" * 10_000


def event(name, data=LARGE):
    return Message(id=name, instance="one", kind=MessageKind.EVENT, data=data)


async def create(provider):
    start = Message(
        id="start", instance="one", kind=MessageKind.START, data=b"", incarnation="first"
    )
    await provider.create_instance(
        NewInstance(instance="one", incarnation="first", name="flow", start=start)
    )


async def delivered(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(
        token=uuid4().hex, limit=1, lease_for=timedelta(seconds=30), serves=serves
    )
    [turn] = await provider.lease_turns(request)
    return [(each.id, each.data) for each in turn.messages if each.id != "start"]


async def test_a_large_message_whose_answer_was_lost_keeps_its_payload(open_on_model, model):
    lost = []

    def lose_the_first_answer(operation, parameters):
        if operation == "PutItem" and not lost:
            lost.append(parameters)
            return Fault.LOST_ANSWER
        return None

    async with open_on_model(FaultyCalls(model, lose_the_first_answer)) as provider:
        await create(provider)
        await provider.send([event("e")])

    async with open_on_model() as provider:
        assert await delivered(provider) == [("e", LARGE)]
    assert len(lost) == 1


async def test_the_payload_of_a_message_that_was_dropped_is_removed(open_on_model, model):
    async with open_on_model() as provider:
        await create(provider)
        await provider.send([event("e")])
        await provider.send([event("e", b"y" * 10_000)])

    chunks = [item for (_, sort), item in model.items.items() if sort.startswith("P#")]
    assert [item["dat"] for item in chunks] == [LARGE]
