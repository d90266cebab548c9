"""ACT: releases of activities, also late and uncounted ones."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    ActivityLease,
    ActivityRelease,
    LeasedActivity,
    ParkedMark,
    ParkedState,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import INSTANT, SPANS
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    work,
)


@check("ACT-11")
async def activities_are_given_back(bench: Bench) -> None:
    """A released activity is leased again at once or after the delay, counted or not."""
    await bench.with_activities(work("job"))
    leased = await bench.take_work()
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease, counted=False))
    leased = await bench.take_work()
    expect_equal(leased.delivery, 1, "delivery after an uncounted release")
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease))
    mark = ParkedMark(reason="again", details="again")
    for counted in (True, False):
        again = ActivityRelease(lease=leased.lease, delay=SECOND, counted=counted, parked=mark)
        await bench.provider.release_activity(again)
    expect_equal((await bench.state()).parked, None, "the mark of a second release")
    leased = await bench.take_work()
    expect_equal(leased.delivery, 2, "delivery after a counted release")
    added = leased.added_at
    for delay in SPANS:
        release = ActivityRelease(lease=leased.lease, delay=delay, counted=False)
        await bench.provider.release_activity(release)
        bench.advance(delay - INSTANT)
        await bench.expect_no_work(f"a microsecond before a delay of {delay} is over")
        bench.advance(INSTANT)
        leased = await bench.take_work()
        expect_equal(
            (leased.delivery, leased.added_at), (2, added), "delivery and added_at after a delay"
        )


@check("ACT-12")
async def a_release_marks_the_instance(bench: Bench) -> None:
    """A parked mark of a released activity marks its instance, and later marks keep the instant."""
    turn = await bench.with_activities(work("job"))
    first = bench.now
    for details in ("first", "second"):
        leased = await bench.take_work()
        mark = ParkedMark(reason="unregistered", details=details)
        await bench.provider.release_activity(ActivityRelease(lease=leased.lease, parked=mark))
        expected = ParkedState(reason="unregistered", details=details, since=first)
        expect_equal((await bench.state()).parked, expected, "the mark")
        bench.advance(SECOND)
    leased = await bench.take_work()
    mark = ParkedMark(reason="undecodable", details="third")
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease, parked=mark))
    expected = ParkedState(reason="undecodable", details="third", since=bench.now)
    expect_equal((await bench.state()).parked, expected, "a mark for another reason")
    leased = await bench.take_work()
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease))
    expect((await bench.state()).parked is not None, "a release without a mark cleared it")
    await bench.commit(turn)
    expect_equal((await bench.state()).parked, None, "the mark after a commit")


@check("ACT-13")
async def a_late_release_of_an_activity_counts_until_another_holds_it(bench: Bench) -> None:
    """A release of an expired lease has its full effect; of one that is gone it has none."""
    turn = await bench.with_activities(work("job"))
    leased = await bench.take_work()
    bench.advance(LEASE)
    mark = ParkedMark(reason="late", details="late")
    late = ActivityRelease(lease=leased.lease, delay=SECOND, counted=False, parked=mark)
    await bench.provider.release_activity(late)
    expected = ParkedState(reason="late", details="late", since=bench.now)
    expect_equal((await bench.state()).parked, expected, "the mark of a release after the end")
    await bench.expect_no_work("released with a delay after its end")
    bench.advance(SECOND)
    first = await bench.take_work()
    expect_equal(first.delivery, 1, "delivery after an uncounted release of an expired lease")
    await bench.commit(turn)
    bench.advance(LEASE)
    second = await bench.take_work()
    expect_equal(second.delivery, 2, "delivery after another took over")
    late = ActivityRelease(lease=first.lease, delay=SECOND, counted=False, parked=mark)
    await bench.provider.release_activity(late)
    await bench.expect_no_work("another holds it, and a late release came")
    expect_equal((await bench.state()).parked, None, "the mark of a late release")
    await bench.complete(second)
    await bench.provider.release_activity(ActivityRelease(lease=second.lease, parked=mark))
    await bench.expect_no_work("it was released after its completion")
    expect_equal((await bench.state()).parked, None, "the mark of a release after completion")


@check("ACT-23")
async def a_delivery_that_was_taken_over_is_accounted_for(bench: Bench) -> None:
    """An uncounted release of the lease that was last taken over lowers `delivery`, once, and does nothing else."""
    await bench.with_activities(work("job"))

    async def after_the_end(delivery: int) -> LeasedActivity:
        bench.advance(LEASE)
        leased = await bench.take_work()
        expect_equal(leased.delivery, delivery, "delivery")
        return leased

    async def release(lease: ActivityLease, *, counted: bool = False) -> None:
        mark = ParkedMark(reason="stalled", details="stalled")
        await bench.provider.release_activity(
            ActivityRelease(lease=lease, delay=SECOND, counted=counted, parked=mark)
        )
        expect_equal(
            (await bench.state()).parked, None, "the mark after a release that only counts back"
        )
        await bench.expect_no_work("another caller holds it, and the earlier worker released it")

    first = await after_the_end(1)
    second = await after_the_end(2)
    await release(first.lease, counted=True)
    await release(replace(first.lease, token="a stranger's"))
    third = await after_the_end(3)
    await release(first.lease)
    fourth = await after_the_end(4)
    await release(third.lease)
    await release(third.lease)
    last = await after_the_end(4)
    await bench.provider.release_activity(ActivityRelease(lease=last.lease, counted=False))
    await bench.provider.release_activity(ActivityRelease(lease=fourth.lease, counted=False))
    expect_equal((await bench.take_work()).delivery, 3, "delivery after both released uncounted")
    await release(second.lease)
