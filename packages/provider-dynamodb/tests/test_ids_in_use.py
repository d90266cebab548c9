"""Creations that find their ids in use: the answer, however large, and what becomes of it."""

from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    NewChild,
    Serves,
    TurnRequest,
)
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

LEASE = timedelta(seconds=30)


def new(instance, incarnation):
    return new_instance(instance, incarnation=incarnation, data=b"")


async def lease(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=1, lease_for=LEASE, serves=serves)
    )


async def begin(provider, ids):
    """The turn of an instance, and a commit of it that finds all these ids in use."""
    await provider.create_instance(new("parent", "first"))
    [turn] = await lease(provider)
    for each in ids:
        await provider.create_instance(new(each, "other"))
    children = tuple(NewChild(instance=new(each, "mine")) for each in ids)
    return turn, commit_of(turn, events=(b"1",), create=children, keep_for=LEASE)


def answers_kept(model):
    return sorted(sort for partition, sort in model.items if sort.startswith("D#"))


@pytest.mark.slow
async def test_a_thousand_long_ids_in_use_are_told_by_the_commit_and_by_its_repeat(open_on_model):
    ids = [f"{number:04}".ljust(500, "x") for number in range(1000)]
    async with open_on_model() as provider:
        _, commit = await begin(provider, ids)

        answer = await provider.commit_turn(commit)
        repeated = await provider.commit_turn(commit)

    assert answer.in_use == repeated.in_use == frozenset(ids)


async def test_ids_in_use_are_no_payloads_to_a_deletion_of_the_namespace(open_on_model, model):
    ids = ["a", "b"]
    async with open_on_model() as provider:
        _, commit = await begin(provider, ids)
        await provider.commit_turn(commit)
        assert answers_kept(model)

        await provider.delete_namespace()

        assert answers_kept(model) == []
        assert await provider.read_instance("parent") is None


@pytest.mark.slow
async def test_another_process_finishes_a_commit_with_many_long_ids_in_use(
    open_on_model, model, clock
):
    ids = [f"{number:04}".ljust(500, "x") for number in range(300)]
    transactions = 0

    def die_after_the_first_batches(operation, parameters):
        nonlocal transactions
        transactions += operation == "TransactWriteItems"
        return Fault.LOST_REQUEST if transactions > 8 else None

    async with open_on_model() as other:
        _, commit = await begin(other, ids)
        async with open_on_model(FaultyCalls(model, die_after_the_first_batches)) as dying:
            with suppress(StorageUnavailable):
                await dying.commit_turn(commit)
        clock.advance(LEASE)

        repeated = await other.commit_turn(commit)

    assert repeated.in_use == frozenset(ids)


@pytest.mark.parametrize("count", [3, 120])
async def test_the_next_commit_removes_the_answer_of_the_last(count, open_on_model, model):
    ids = [f"taken-{number}" for number in range(count)]
    async with open_on_model() as provider:
        turn, commit = await begin(provider, ids)
        await provider.commit_turn(commit)
        kept = answers_kept(model)
        end = ExecutionEnd(status=InstanceStatus.COMPLETED)
        await provider.commit_turn(commit_of(turn, expected_event=1, end=end))

    assert kept
    assert answers_kept(model) == []


async def test_an_answer_that_version_0_1_0_left_in_the_lock_is_told_again(open_on_model, model):
    async with open_on_model() as provider:
        _, commit = await begin(provider, [])
        await provider.commit_turn(commit)
        model.items["test#I#parent", "A"]["inu"] = ["taken"]

        repeated = await provider.commit_turn(commit)

    assert repeated.in_use == {"taken"}
