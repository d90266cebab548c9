"""LEASE-23 and ACT-25: releases and completions that are cancelled in the middle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from perdure.contract import ActivityRelease, ParkedMark, TurnRelease

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import pass_seconds
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, delivered, work

MARK = ParkedMark(reason="stalled", details="stalled")
MOMENTS = 16
"""At half of them a call is cancelled after so many steps of the event loop, at the others after a part
of the time that it takes."""


class Moments:
    """When calls are cancelled."""

    def __init__(self) -> None:
        self._length = 0.0

    async def measure(self, call: Awaitable[object]) -> None:
        """Make a call, and see how long such a call takes."""
        began = time.perf_counter()
        await call
        self._length = max(self._length, time.perf_counter() - began)

    async def cancel(self, call: Awaitable[object], number: int) -> None:
        """Make a call, and cancel it at this moment."""
        task = asyncio.ensure_future(call)
        if number < MOMENTS // 2:
            for _ in range(number):
                await asyncio.sleep(0)
        else:
            part = (number - MOMENTS // 2 + 0.5) / (MOMENTS // 2)
            await pass_seconds(part * self._length)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@check("LEASE-23")
async def a_cancelled_release_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a release is cancelled, all of it happened or nothing; repeated, it takes effect once."""
    moments = Moments()
    first = TurnRelease(lease=held_by(await bench.started("measured")), delay=LEASE)
    await moments.measure(bench.provider.release_turn(first))
    bench.advance(LEASE)
    await bench.commit(await bench.take("measured"))
    for number in range(MOMENTS):
        name = f"i-{number}"
        turn = await bench.started(name)
        lease, delay = held_by(turn), LEASE / 2
        release = TurnRelease(lease=lease, delay=delay, counted=False, parked=MARK)
        await moments.cancel(bench.provider.release_turn(release), number)
        said = f"a release that was cancelled at moment {number}"
        happened = (await bench.state(name)).parked is not None
        gone = lease in await bench.provider.renew_turns([lease], lease_for=LEASE)
        expect_equal(
            gone, happened, f"whether the lease is gone, as the mark is there, after {said}"
        )
        await bench.expect_nothing_ready(said)
        await bench.provider.release_turn(release)
        parked = (await bench.state(name)).parked
        expect(parked is not None, f"no mark after {said}, repeated")
        bench.advance(delay)
        turn = await bench.take(name)
        expect_equal(turn.attempt, 1, f"attempt after {said}, repeated")
        await bench.commit(turn)


@check("ACT-25")
async def what_ends_an_activity_lease_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a completion or a release of an activity is cancelled, all of it happened or nothing."""
    moments = Moments()
    await bench.commit(await bench.with_activities(work("measured"), instance="measured"))
    await moments.measure(bench.complete(await bench.take_work("measured")))
    await bench.commit(await bench.take("measured"))
    for number in range(MOMENTS):
        name = f"i-{number}"
        turn = await bench.with_activities(work("done"), work("released"), instance=name)
        leased = {each.id: each for each in await bench.lease_work()}
        await moments.cancel(bench.complete(leased["done"]), number)
        said = f"a completion that was cancelled at moment {number}"
        lease = leased["done"].lease
        gone = lease in await bench.provider.renew_activities([lease], lease_for=LEASE)
        turn = await bench.keep(turn, remove=(), events=(b"1",))
        expect_equal(delivered(turn), ["result-done"] if gone else [], f"results after {said}")
        if not gone:
            await bench.complete(leased["done"])
        turn = await bench.keep(turn, remove=(), events=(b"2",))
        expect_equal(delivered(turn), ["result-done"], f"results after {said}, repeated")
        lease, delay = leased["released"].lease, LEASE / 2
        release = ActivityRelease(lease=lease, delay=delay, counted=False, parked=MARK)
        await moments.cancel(bench.provider.release_activity(release), number)
        said = f"a release that was cancelled at moment {number}"
        happened = (await bench.state(name)).parked is not None
        gone = lease in await bench.provider.renew_activities([lease], lease_for=LEASE)
        expect_equal(
            gone, happened, f"whether the lease is gone, as the mark is there, after {said}"
        )
        await bench.expect_no_work(said)
        await bench.provider.release_activity(release)
        bench.advance(delay)
        found = [(each.id, each.delivery) for each in await bench.lease_work()]
        expect_equal(found, [("released", 1)], f"leased after {said}, repeated")
        await bench.commit(turn, cancel=("released",))
