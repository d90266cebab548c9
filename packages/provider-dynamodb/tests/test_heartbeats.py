"""Leases of activities while they run: what renewals write, and what becomes of them afterwards."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    CancellationWait,
    NewActivity,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb.testing.faults import FaultyCalls
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND


async def start(provider):
    """A turn of a new instance."""
    await provider.create_instance(new_instance("alpha", incarnation="first", data=b""))
    serves = Serves(orchestrations={"flow": frozenset()})
    [turn] = await provider.lease_turns(
        TurnRequest(token="t", limit=1, lease_for=LEASE, serves=serves)  # noqa: S106 # no secret
    )
    return turn


async def commit(provider, turn, expected_event, **fields):
    await provider.commit_turn(
        commit_of(
            turn,
            expected_event=expected_event,
            events=(b"1",),
            remove=(),
            keep_for=LEASE,
            **fields,
        )
    )


def activity(name):
    return NewActivity(id=name, name="work", data=b"")


async def lease(provider, limit=10):
    return await provider.lease_activities(
        ActivityRequest(token=uuid4().hex, limit=limit, lease_for=LEASE, names=frozenset({"work"}))
    )


async def test_every_other_renewal_leaves_the_index_alone(open_on_model, model, clock):
    places = []
    async with open_on_model() as provider:
        await commit(provider, await start(provider), 0, add=(activity("a"),))
        [work] = await lease(provider)
        for _ in range(6):
            clock.advance(LEASE / 3)
            assert await provider.renew_activities([work.lease], lease_for=LEASE) == frozenset()
            places.append(model.items["test#I#alpha", "W#a"]["gsk"])

    assert len(set(places)) == 4


async def test_a_shorter_lease_ends_when_it_says(open_on_model, clock):
    async with open_on_model() as provider:
        await commit(provider, await start(provider), 0, add=(activity("a"),))
        [work] = await lease(provider)
        await provider.renew_activities([work.lease], lease_for=5 * SECOND)
        clock.advance(5 * SECOND)

        [taken] = await lease(provider)

    assert taken.delivery == 2


async def test_a_lease_that_outlasts_its_place_in_the_index_is_tried_for_once(
    open_on_model, model, clock
):
    watched = FaultyCalls(model, lambda *_: None)
    async with open_on_model() as provider, open_on_model(watched) as other:
        await commit(provider, await start(provider), 0, add=(activity("a"),))
        [work] = await lease(provider)
        clock.advance(LEASE / 3)
        await provider.renew_activities([work.lease], lease_for=LEASE)
        clock.advance(LEASE * 2 / 3)

        for _ in range(9):
            assert await lease(other) == ()
            clock.advance(SECOND)
        attempts = watched.requests.count("UpdateItem")
        clock.advance(SECOND)
        [taken] = await lease(other)

    assert attempts == 2  # The other one is the opening's.
    assert taken.delivery == 2


async def test_what_a_dead_process_held_comes_before_what_is_newer(open_on_model, clock):
    async with open_on_model() as provider:
        turn = await start(provider)
        await commit(provider, turn, 0, add=(activity("oldest"),))
        await lease(provider)
        clock.advance(LEASE / 3)
        await commit(provider, turn, 1, add=(activity("newer"),))
        clock.advance(LEASE)

        [work] = await lease(provider, limit=1)

    assert work.id == "oldest"


@pytest.mark.parametrize("activities", [1, 50])
async def test_to_see_that_nothing_is_cancelled_costs_half_a_unit_for_each_instance(
    activities, open_on_model, model
):
    meter = MeteringCalls(model)
    async with open_on_model(meter) as provider:
        added = tuple(activity(f"a{number}") for number in range(activities))
        await commit(provider, await start(provider), 0, add=added)
        leased = await lease(provider, limit=activities)
        wait = CancellationWait(leases=tuple(each.lease for each in leased), timeout=0 * SECOND)
        await provider.wait_for_cancellation(wait)
        meter.take()

        assert await provider.wait_for_cancellation(wait) == frozenset()

    assert meter.take().read_units == 0.5


async def test_a_cancellation_by_another_process_is_seen_by_the_next_look(open_on_model):
    async with open_on_model() as provider, open_on_model() as other:
        turn = await start(other)
        await commit(other, turn, 0, add=(activity("a"), activity("b")))
        leases = {each.id: each.lease for each in await lease(provider)}
        wait = CancellationWait(leases=tuple(leases.values()), timeout=0 * SECOND)
        assert await provider.wait_for_cancellation(wait) == frozenset()
        await commit(other, turn, 1, cancel=("a",))

        assert await provider.wait_for_cancellation(wait) == {leases["a"]}
        assert await provider.wait_for_cancellation(wait) == {leases["a"]}
