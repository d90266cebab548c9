"""Listings and counts while instances end: nothing is missed, nothing counts twice."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import FaultyCalls, Stall

NAMES = [f"i-{number}" for number in range(6)]
SHARDS = 2
QUERIES = 3 * SHARDS
"""Of a listing of all: one for each status and shard."""


async def create_all(provider):
    for name in NAMES:
        await provider.create_instance(new_instance(name, incarnation="first", data=b""))


async def end_all(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    request = TurnRequest(
        token=uuid4().hex, limit=100, lease_for=timedelta(seconds=30), serves=serves
    )
    for turn in await provider.lease_turns(request):
        await provider.commit_turn(
            commit_of(
                turn,
                events=(b"end",),
                remove=(),
                end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"null"),
            )
        )


async def look_while_all_end(open_on_model, model, place, look):
    """What a look sees whose `place`-th query waits until all instances have ended."""
    stall, reached, queries = Stall(), asyncio.Event(), 0

    def plan(operation, parameters):
        nonlocal queries
        values = parameters.get("ExpressionAttributeValues", {})
        if operation != "Query" or not values[":p"]["S"].startswith("test#S#"):
            return None
        queries += 1
        if queries - 1 != place:
            return None
        reached.set()
        return stall

    async with (
        open_on_model(shards=SHARDS) as other,
        open_on_model(FaultyCalls(model, plan), shards=SHARDS) as provider,
    ):
        await create_all(other)
        looking = asyncio.ensure_future(look(provider.as_management_capability()))
        await reached.wait()
        await end_all(other)
        stall.set()
        return await looking


@pytest.mark.parametrize("place", range(QUERIES))
async def test_a_listing_has_an_instance_that_ends_meanwhile_once(place, open_on_model, model):
    page = await look_while_all_end(
        open_on_model, model, place, lambda admin: admin.list_instances(limit=100)
    )

    assert sorted(page.ids) == NAMES


@pytest.mark.parametrize("place", range(QUERIES))
async def test_a_count_has_an_instance_that_ends_meanwhile_once(place, open_on_model, model):
    counts = await look_while_all_end(
        open_on_model, model, place, lambda admin: admin.count_instances()
    )

    assert counts.total_instances == counts.total_executions == len(NAMES)
    assert counts.running_instances + counts.completed_instances == len(NAMES)
