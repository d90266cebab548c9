"""Looks past work that the caller does not serve: what they find, and how they grow with it."""

import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    NewActivity,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb import _other_queues

MINUTE = timedelta(minutes=1)


async def add(provider, activities):
    """Add activities, fifty to an instance."""
    for number in range(0, len(activities), 50):
        instance = uuid4().hex
        await provider.create_instance(new_instance(instance, incarnation="first", data=b""))
        serves = Serves(orchestrations={"flow": frozenset()})
        [turn] = await provider.lease_turns(
            TurnRequest(token=uuid4().hex, limit=1, lease_for=MINUTE, serves=serves)
        )
        await provider.commit_turn(
            commit_of(
                turn,
                remove=("start",),
                add=tuple(activities[number : number + 50]),
            )
        )


def request(*, limit=100, unregistered_for=None):
    return ActivityRequest(
        token=uuid4().hex,
        limit=limit,
        lease_for=MINUTE,
        names=frozenset({"work"}),
        unregistered_for=unregistered_for,
    )


async def test_activities_of_many_other_queues_are_found_over_a_few_looks(
    open_on_model, clock, monkeypatch
):
    monkeypatch.setattr(_other_queues, "MOST_PREFIXES", 3)
    tags = [f"tag-{number}" for number in range(10)]
    async with open_on_model(shards=1) as provider:
        await add(provider, [NewActivity(id=tag, name="work", data=b"", tag=tag) for tag in tags])
        clock.advance(MINUTE)

        found = []
        for _ in range(4):
            found += await provider.lease_activities(request(unregistered_for=MINUTE))

    assert sorted(leased.tag for leased in found) == sorted(tags)
    assert not any(leased.served for leased in found)


async def test_an_activity_whose_lease_ran_out_has_waited_since_it_was_added(open_on_model, clock):
    gpu = NewActivity(id="a", name="work", data=b"", tag="gpu")
    async with open_on_model() as provider:
        await add(provider, [gpu])
        clock.advance(MINUTE)
        [first] = await provider.lease_activities(request(unregistered_for=MINUTE))
        clock.advance(MINUTE)

        [second] = await provider.lease_activities(request(unregistered_for=MINUTE))

    assert (first.delivery, second.delivery) == (1, 2)


async def calls_of(look):
    """How many calls of Python functions a look takes: a measure of its time that never varies."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        await look
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("unregistered_for", [None, timedelta(hours=24), timedelta(0)])
@pytest.mark.parametrize("name", ["work", "other"])
async def test_the_work_of_a_look_grows_with_what_waits_and_not_with_its_square(
    name, unregistered_for, open_on_model
):
    counts = []
    for size in (100, 400):
        async with open_on_model(namespace=f"{size} wait") as provider:
            await add(provider, [NewActivity(id=f"a{n}", name=name, data=b"") for n in range(size)])
            look = provider.lease_activities(request(limit=400, unregistered_for=unregistered_for))
            counts.append(await calls_of(look))

    assert counts[1] <= 5 * counts[0]
