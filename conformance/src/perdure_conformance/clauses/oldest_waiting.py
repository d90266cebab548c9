"""ADMIN-9: since when the oldest message and the oldest activity wait."""

from __future__ import annotations

from perdure.clock import Instant
from perdure.contract import MANAGEMENT, RECOVERY, ActivityRelease, TurnRelease

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal
from perdure_conformance.samples import COMPLETED, LEASE, SECOND, event, reopening, work


@check("ADMIN-9", since=(1, 1), needs=MANAGEMENT)
async def the_oldest_that_waits_is_told(bench: Bench) -> None:
    """Since when the oldest message and activity wait is told, but for leases and delays."""
    await expect_oldest(bench, "nothing")
    await bench.send(event("early", "ghost"))
    await expect_oldest(bench, "an event that waits for an instance")
    await expect_oldest_message(bench)
    await expect_oldest_activity(bench)


async def expect_oldest(
    bench: Bench, of: str, *, message: Instant | None = None, activity: Instant | None = None
) -> None:
    """Complain unless the oldest waits since then."""
    depths = await bench.admin.count_queues()
    expect_equal(depths.oldest_message, message, f"since when the oldest message waits, of {of}")
    expect_equal(depths.oldest_activity, activity, f"since when the oldest activity waits, of {of}")


async def expect_oldest_message(bench: Bench) -> None:
    """Complain unless an instance waits from its first visible message on, while it is free."""
    created = bench.now
    await bench.create("a")
    bench.advance(SECOND)
    await bench.create("b")
    await expect_oldest(bench, "two new instances", message=created)
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    await expect_oldest(bench, "leased instances")
    due = bench.after(2 * SECOND)
    await bench.send(event("later", "a", visible_at=due))
    await bench.commit(turns["a"])
    await expect_oldest(bench, "a message that is due later")
    bench.advance(5 * SECOND)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turns["b"])))
    await expect_oldest(bench, "a message that has come due, and a release", message=due)
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    await bench.commit(turns["a"])
    bench.advance(SECOND)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turns["b"])))
    released = bench.now
    bench.advance(SECOND)
    await expect_oldest(bench, "a released instance", message=released)
    turn = await bench.take("b")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=10 * SECOND))
    over = bench.after(10 * SECOND)
    await expect_oldest(bench, "a delayed instance")
    bench.advance(15 * SECOND)
    await expect_oldest(bench, "an instance whose delay is over", message=over)
    turn = await bench.take("b")
    bench.advance(LEASE / 2)
    await bench.provider.renew_turns([held_by(turn)], lease_for=LEASE)
    end = bench.after(LEASE)
    bench.advance(LEASE - SECOND)
    await expect_oldest(bench, "an instance whose lease was renewed")
    bench.advance(2 * SECOND)
    await expect_oldest(bench, "an instance whose lease ran out", message=end)
    turn = await bench.take("b")
    await bench.send(event("held", "b"))
    if RECOVERY in bench.backend.declaration.capabilities:
        bench.advance(SECOND)
        await bench.provider.reopen_instance(reopening(1, "b"))
        reopened = bench.now
        bench.advance(SECOND)
        await expect_oldest(bench, "an instance that was reopened while it ran", message=reopened)
        turn = await bench.take("b")
    await bench.commit(turn, end=COMPLETED)


async def expect_oldest_activity(bench: Bench) -> None:
    """Complain unless an activity waits from when it is visible on, while it is free."""
    added, due = bench.now, bench.after(5 * SECOND)
    await bench.with_activities(work("one"), work("later", visible_at=due), instance="c")
    bench.advance(SECOND)
    await expect_oldest(bench, "two activities", activity=added)
    leased = await bench.take_work("one")
    await expect_oldest(bench, "an activity that is due later, and a leased one")
    bench.advance(5 * SECOND)
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease))
    await expect_oldest(bench, "an activity that has come due, and a release", activity=due)
    bench.advance(SECOND)
    both = {each.id: each for each in await bench.lease_work()}
    await bench.complete(both["later"])
    await bench.provider.release_activity(ActivityRelease(lease=both["one"].lease))
    released = bench.now
    bench.advance(SECOND)
    await expect_oldest(bench, "a released activity", activity=released)
    leased = await bench.take_work("one")
    await bench.provider.release_activity(ActivityRelease(lease=leased.lease, delay=10 * SECOND))
    over = bench.after(10 * SECOND)
    await expect_oldest(bench, "a delayed activity")
    bench.advance(11 * SECOND)
    await expect_oldest(bench, "an activity whose delay is over", activity=over)
    leased = await bench.take_work("one")
    bench.advance(LEASE + SECOND)
    depths = await bench.admin.count_queues()
    expect_equal(
        depths.oldest_activity,
        leased.until,
        "since when an activity waits whose lease ran out",
    )
