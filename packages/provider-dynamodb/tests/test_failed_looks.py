"""A look that the table fails half-way: healthy work is leased, or not counted as leased."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    NewActivity,
    Serves,
    TurnLease,
    TurnRequest,
)
from perdure.errors import StorageUnavailable
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

LEASE = timedelta(seconds=30)
READY = 5
IN_FRONT_OF_THE_REST = 220
"""Rows that another service's process would take, so that a look takes several pages."""


async def create(provider, instance, name="flow"):
    await provider.create_instance(new_instance(instance, incarnation="first", name=name, data=b""))


async def lease(provider, token=None, limit=100):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=token or uuid4().hex, limit=limit, lease_for=LEASE, serves=serves)
    )


async def lease_work(provider, token=None, limit=100):
    return await provider.lease_activities(
        ActivityRequest(
            token=token or uuid4().hex, limit=limit, lease_for=LEASE, names=frozenset({"work"})
        )
    )


async def add_activities(provider, activities):
    await create(provider, "parent")
    [turn] = await lease(provider)
    await provider.commit_turn(
        commit_of(
            turn,
            remove=("start",),
            add=tuple(activities),
        )
    )


def throttle_second_pages(operation, parameters):
    later_page = "IndexName" in parameters and "ExclusiveStartKey" in parameters
    return Fault.BUSY if operation == "Query" and later_page else None


async def test_turns_that_a_look_leased_before_it_was_throttled_are_returned(open_on_model, model):
    async with (
        open_on_model(shards=1) as other,
        open_on_model(FaultyCalls(model, throttle_second_pages), shards=1) as throttled,
    ):
        for number in range(READY):
            await create(other, f"ready-{number}")
        for number in range(IN_FRONT_OF_THE_REST):
            await create(other, f"of-another-service-{number:03}", name="other")

        turns = await lease(throttled)

    assert [turn.attempt for turn in turns] == [1] * READY


async def test_activities_that_a_look_leased_before_it_was_throttled_are_returned(
    open_on_model, model
):
    ready = [NewActivity(id=f"a{number}", name="work", data=b"") for number in range(READY)]
    others = [
        NewActivity(id=f"b{number}", name="other", data=b"")
        for number in range(IN_FRONT_OF_THE_REST)
    ]
    async with (
        open_on_model(shards=1) as other,
        open_on_model(FaultyCalls(model, throttle_second_pages), shards=1) as throttled,
    ):
        await add_activities(other, [*ready, *others])

        leased = await lease_work(throttled)

    assert [each.delivery for each in leased] == [1] * READY


class Outage(FaultyCalls):
    """The table answers until a lease is written, and then no more until it is told to."""

    def __init__(self, model):
        super().__init__(model, self.fate)
        self.begins = True
        self.is_on = False

    def fate(self, operation, parameters):
        if self.is_on:
            return Fault.BUSY
        if self.begins and ":until" in parameters.get("ExpressionAttributeValues", {}):
            self.begins, self.is_on = False, True
            return Fault.LOST_ANSWER
        return None


@pytest.mark.parametrize("token", ["the same", "another"])
async def test_a_turn_that_the_table_did_not_take_back_is_leased_uncounted_after_the_outage(
    token, open_on_model, model
):
    calls = Outage(model)
    async with open_on_model(calls) as provider:
        await create(provider, "alpha")
        assert await lease(provider, "the same") == ()
        calls.is_on = False

        [turn] = await lease(provider, token)

    assert turn.attempt == 1


@pytest.mark.parametrize("token", ["the same", "another"])
async def test_an_activity_that_the_table_did_not_take_back_is_leased_uncounted_after_the_outage(
    token, open_on_model, model
):
    calls = Outage(model)
    calls.begins = False
    async with open_on_model(calls) as provider:
        await add_activities(provider, [NewActivity(id="a", name="work", data=b"")])
        calls.begins = True
        assert await lease_work(provider, "the same") == ()
        calls.is_on = False

        [leased] = await lease_work(provider, token)

    assert leased.delivery == 1


async def test_what_a_token_gets_after_an_outage_is_not_taken_back_by_a_later_look(
    open_on_model, model
):
    calls = Outage(model)
    async with open_on_model(calls) as provider:
        await create(provider, "alpha")
        await lease(provider, "the same")
        calls.is_on = False
        [turn] = await lease(provider, "the same")

        assert await lease(provider) == ()
        assert (
            await provider.renew_turns(
                [TurnLease(instance="alpha", token=turn.token)], lease_for=LEASE
            )
            == frozenset()
        )


async def test_a_look_that_finds_nothing_and_fails_raises(open_on_model, model):
    throttled = FaultyCalls(model, lambda *_: None)
    async with open_on_model(throttled) as provider:
        throttled.plan = lambda operation, parameters: Fault.BUSY

        with pytest.raises(StorageUnavailable):
            await lease(provider)
