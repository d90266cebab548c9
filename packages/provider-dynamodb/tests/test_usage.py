"""What a provider object counts of its requests."""

from datetime import timedelta
from uuid import uuid4

from perdure.contract import Serves, TurnRequest
from perdure_conformance.samples import new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

SECOND = timedelta(seconds=1)


async def look(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(token=uuid4().hex, limit=9, lease_for=30 * SECOND, serves=serves)
    return await provider.lease_turns(request)


def since(before, provider):
    usage = provider.read_usage()
    return {
        name: usage[name] - before.get(name, 0)
        for name in usage
        if usage[name] != before.get(name, 0)
    }


async def test_a_look_counts_its_requests_and_the_units_that_dynamodb_charged(open_on_model):
    async with open_on_model() as provider:
        await look(provider)
        before = provider.read_usage()
        await look(provider)

        assert since(before, provider) == {
            "requests": 4,
            "requests: Query": 4,
            "read units of looks": 2,
        }


async def test_repeats_are_counted_by_their_reason(open_on_model, model):
    faults = [Fault.BUSY, Fault.CONFLICT, Fault.LOST_ANSWER]
    calls = FaultyCalls(model, lambda operation, _: next_fault(operation))
    asked = []

    def next_fault(operation):
        asked.append(operation)
        return faults.pop() if operation == "TransactWriteItems" and faults else None

    async with open_on_model(calls) as provider:
        before = provider.read_usage()
        await provider.create_instance(new_instance("alpha", incarnation="first", data=b""))

        assert since(before, provider) == {
            "requests": 4,
            "requests: TransactWriteItems": 4,
            "repeats": 3,
            "repeats: throttled or in conflict": 2,
            "repeats: without an answer": 1,
        }


async def test_the_rest_of_a_batch_is_counted_as_a_repeat(open_on_model, model):
    faults = [Fault.UNPROCESSED]
    calls = FaultyCalls(
        model,
        lambda operation, _: faults.pop() if operation == "BatchWriteItem" and faults else None,
    )
    async with open_on_model(calls) as provider:
        before = provider.read_usage()
        table = provider.table
        await table.delete_many([("test#I#a", str(number)) for number in range(4)])

        assert since(before, provider) == {
            "requests": 2,
            "requests: BatchWriteItem": 2,
            "repeats": 1,
            "repeats: left of a batch": 1,
        }
