"""LEASE-23 and ACT-25: releases and completions that are cancelled in the middle."""

from __future__ import annotations

from perdure.contract import ActivityRelease, ParkedMark, TurnRelease

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, delivered, work

MARK = ParkedMark(reason="stalled", details="stalled")
STEPS = (0, 1, 2, 3, 4, 6, 9, 15, 24, 40, 65, 105, 170, 275, 450, 730, 1200, 2000)
"""Steps of the event loop after which a call is cancelled: the later ones reach those that wait for a
server, since the loop goes on without a rest meanwhile."""


@check("LEASE-23")
async def a_cancelled_release_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a release is cancelled, all of it happened or nothing; repeated, it takes effect once."""
    for steps in STEPS:
        name = f"i-{steps}"
        turn = await bench.started(name)
        lease, delay = held_by(turn), LEASE / 2
        release = TurnRelease(lease=lease, delay=delay, counted=False, parked=MARK)
        await bench.cancelled(bench.provider.release_turn(release), steps=steps)
        said = f"a release that was cancelled after {steps} steps"
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
    for steps in STEPS:
        name = f"i-{steps}"
        turn = await bench.with_activities(work("done"), work("released"), instance=name)
        leased = {each.id: each for each in await bench.lease_work()}
        await bench.cancelled(bench.complete(leased["done"]), steps=steps)
        said = f"a completion that was cancelled after {steps} steps"
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
        await bench.cancelled(bench.provider.release_activity(release), steps=steps)
        said = f"a release that was cancelled after {steps} steps"
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
