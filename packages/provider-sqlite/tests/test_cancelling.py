"""Cancelled calls: all or nothing, and leases are given back."""

import asyncio
from datetime import timedelta

import pytest
from perdure.contract import NewActivity

LEASE = timedelta(seconds=30)


async def some_steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_call_that_was_cancelled_before_it_began_is_not_made(desk, make):
    provider = await desk.open()
    call = asyncio.ensure_future(provider.create_instance(make.new("a")))
    await some_steps(1)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await provider.read_instance("a") is None


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_cancelled_call_is_settled_when_the_caller_goes_on(desk, make, steps):
    provider = await desk.open()
    call = asyncio.ensure_future(provider.create_instance(make.new("a")))
    await some_steps(steps)

    call.cancel()
    await asyncio.wait([call])
    found = await provider.read_instance("a")
    await provider.send([make.event("b")])

    assert await provider.read_instance("a") == found


async def test_a_second_cancellation_does_not_cut_the_settling_short(desk, make):
    provider = await desk.open()
    call = asyncio.ensure_future(provider.create_instance(make.new("a")))
    await some_steps(2)
    assert provider.opened.writer.is_in_use

    call.cancel()
    await some_steps(1)
    call.cancel()
    await asyncio.wait([call])

    assert call.cancelled()
    assert await provider.read_instance("a") is not None


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_cancelled_lease_call_gives_its_turns_back_uncounted(desk, make, steps):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    call = asyncio.ensure_future(provider.lease_turns(make.request()))
    await some_steps(steps)

    if not call.cancel():
        return
    await asyncio.wait([call])

    await provider.send([make.event("b")])
    (turn,) = await provider.lease_turns(make.request())
    assert turn.attempt == 1


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_cancelled_lease_call_gives_its_activities_back_uncounted(desk, make, steps):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, add=(NewActivity(id="1", name="work", data=b""),)))
    call = asyncio.ensure_future(desk.activities(provider))
    await some_steps(steps)

    if not call.cancel():
        return
    await asyncio.wait([call])

    await provider.send([make.event("b")])
    (activity,) = await desk.activities(provider)
    assert activity.delivery == 1


async def test_a_lease_that_was_answered_but_not_seen_is_given_back(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    call = asyncio.ensure_future(provider.lease_turns(make.request()))
    while not provider.opened.database.writer.in_transaction:
        if provider.opened.writer._groups._is_scheduled:
            # The group runs in the next step, and answers in the same.
            await asyncio.sleep(0)
            break
        await asyncio.sleep(0)

    assert call.cancel()
    await asyncio.wait([call])

    await provider.send([make.event("b")])
    (turn,) = await provider.lease_turns(make.request())
    assert turn.attempt == 1


async def test_neighbours_of_a_cancelled_call_are_answered(desk, make):
    provider = await desk.open()
    calls = [asyncio.ensure_future(provider.create_instance(make.new(f"i{n}"))) for n in range(3)]
    await some_steps(2)

    calls[1].cancel()
    await asyncio.wait(calls)

    assert [call.cancelled() for call in calls] == [False, True, False]
    assert await provider.read_instance("i2") is not None
