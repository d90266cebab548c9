"""LEASE: releases of turns, also late and uncounted ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    LeasedTurn,
    MessageKind,
    ParkedMark,
    ParkedState,
    TurnLease,
    TurnRelease,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import INSTANT, SPANS
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, SECOND, delivered, event, result, timer, work

HOUR = timedelta(hours=1)


@check("LEASE-13")
async def a_released_turn_is_ready_at_once(bench: Bench) -> None:
    """A release makes ready at once; uncounted, it leaves `attempt` as it was."""
    turn = await bench.started()
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), counted=False))
    turn = await bench.take()
    expect_equal((turn.attempt, delivered(turn)), (1, ["start"]), "after an uncounted release")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))
    mark = ParkedMark(reason="again", details="again")
    for counted in (True, False):
        again = TurnRelease(lease=held_by(turn), delay=SECOND, counted=counted, parked=mark)
        await bench.provider.release_turn(again)
    expect_equal((await bench.state()).parked, None, "the mark of a second release")
    turn = await bench.take()
    expect_equal(turn.attempt, 2, "attempt after a counted release")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), counted=False))
    expect_equal((await bench.take()).attempt, 2, "attempt after another uncounted release")


@check("LEASE-14")
async def a_delay_hides_the_instance(bench: Bench) -> None:
    """Until the delay is over the instance is hidden, later messages included."""
    turn = await bench.started()
    minute = timedelta(minutes=1)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=minute))
    await bench.send(event("new"))
    await bench.expect_nothing_ready("released with a delay")
    bench.advance(minute - INSTANT)
    await bench.send(event("newer"))
    await bench.expect_nothing_ready("a microsecond before the delay is over")
    bench.advance(INSTANT)
    turn = await bench.take()
    expect_equal(delivered(turn), ["start", "new", "newer"], "messages after the delay")
    await bench.commit(turn)
    await bench.send(event("newest"))
    await _hidden_from_all_but_cancellations(bench)
    for delay in SPANS:
        turn = await bench.take()
        await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=delay))
        bench.advance(delay - INSTANT)
        await bench.expect_nothing_ready(f"a microsecond before a delay of {delay} is over")
        bench.advance(INSTANT)
    await bench.take()


async def _hidden_from_all_but_cancellations(bench: Bench) -> None:
    """Complain if anything but a cancellation ends a delay, or gets lost in it."""
    turn = await bench.pick("alpha")
    turn = await bench.keep(turn, add=(work("job"),), send=(timer("due", bench.after(SECOND)),))
    job = await bench.take_work()
    await bench.create("neighbour")
    neighbour = await bench.take("neighbour")
    minute = timedelta(minutes=1)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=minute))
    for kind in (MessageKind.ACTIVITY, MessageKind.TIMER, MessageKind.CHILD, MessageKind.EVENT):
        await bench.send(result(f"late-{kind.value}", kind=kind))
        await bench.expect_nothing_ready(f"a message of kind {kind.value} came during a delay")
    await bench.complete(job)
    await bench.expect_nothing_ready("an activity was completed during a delay")
    await bench.commit(neighbour, send=(result("sent"), event("raised")))
    await bench.expect_nothing_ready("a neighbour's commit sent messages during a delay")
    bench.advance(SECOND)
    await bench.expect_nothing_ready("a timer fell due during a delay")
    bench.advance(minute - SECOND)
    turn = await bench.take()
    late = ["late-activity", "late-timer", "late-child", "late-event", "result-job"]
    wanted = [*late, "sent", "raised", "due"]
    expect_equal(delivered(turn), wanted, "messages that came during a delay")
    await bench.commit(turn)
    await bench.send(event("after"))


@check("LEASE-15")
async def a_mark_keeps_its_first_instant(bench: Bench) -> None:
    """A parked mark is stored; `since` stays for the same reason, until a commit clears the mark."""
    turn = await bench.started()
    first = bench.now
    mark = ParkedMark(reason="unregistered", details="no flow here")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    expected = ParkedState(reason="unregistered", details="no flow here", since=first)
    expect_equal((await bench.state()).parked, expected, "the mark")
    bench.advance(SECOND)
    turn = await bench.take()
    expect_equal(turn.state.parked, expected, "the mark that a lease brings")
    mark = ParkedMark(reason="unregistered", details="nor here")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    expected = ParkedState(reason="unregistered", details="nor here", since=first)
    expect_equal((await bench.state()).parked, expected, "a second mark for the same reason")
    turn = await bench.take()
    mark = ParkedMark(reason="nondeterminism", details="event 3")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    expected = ParkedState(reason="nondeterminism", details="event 3", since=bench.now)
    expect_equal((await bench.state()).parked, expected, "a mark for another reason")
    bench.advance(SECOND)
    turn = await bench.take()
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))
    expect_equal((await bench.state()).parked, expected, "the mark after a release without one")
    await bench.send(event("more"))
    await bench.commit(await bench.take(), remove=("start",))
    bench.advance(SECOND)
    turn = await bench.take()
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    parked = (await bench.state()).parked
    expect(parked is not None and parked.since == bench.now, f"the mark after a commit: {parked}")


@check("LEASE-16")
async def a_late_release_counts_until_another_holds_it(bench: Bench) -> None:
    """A release of an expired lease has its full effect; of one that is gone it has none."""
    turn = await bench.started()
    bench.advance(LEASE)
    mark = ParkedMark(reason="stalled", details="stalled")
    delay = timedelta(minutes=1)
    await bench.provider.release_turn(
        TurnRelease(lease=held_by(turn), delay=delay, counted=False, parked=mark)
    )
    expected = ParkedState(reason="stalled", details="stalled", since=bench.now)
    expect_equal((await bench.state()).parked, expected, "the mark of a release after the end")
    await bench.expect_nothing_ready("released with a delay after its end")
    bench.advance(delay)
    first = await bench.take()
    expect_equal(first.attempt, 1, "attempt after an uncounted release of an expired lease")
    bench.advance(LEASE)
    mark = ParkedMark(reason="late", details="late")
    late = TurnRelease(lease=held_by(first), delay=delay, counted=False, parked=mark)
    second = await bench.take()
    expect_equal(second.attempt, 2, "attempt")
    before = await bench.state()
    await bench.provider.release_turn(late)
    await bench.expect_nothing_ready("another holds it, and a late release came")
    expect_equal(await bench.state(), before, "the instance after a late release")
    await bench.commit(second)
    await bench.provider.release_turn(TurnRelease(lease=held_by(second), parked=mark))
    unknown = TurnRelease(lease=TurnLease(instance="absent", token="t"), parked=mark)
    await bench.provider.release_turn(unknown)
    expect_equal((await bench.state()).parked, None, "the mark of a release after the commit")


@check("LEASE-21")
async def a_lease_that_was_taken_over_is_accounted_for(bench: Bench) -> None:
    """An uncounted release of the lease that was last taken over lowers `attempt`, once, until a commit, and does nothing else."""
    await bench.create()

    async def after_the_end(attempt: int) -> LeasedTurn:
        bench.advance(LEASE)
        turn = await bench.take()
        expect_equal(turn.attempt, attempt, "attempt")
        return turn

    async def release(lease: TurnLease, *, counted: bool = False) -> None:
        mark = ParkedMark(reason="stalled", details="stalled")
        await bench.provider.release_turn(
            TurnRelease(lease=lease, delay=HOUR / 60, counted=counted, parked=mark)
        )
        expect_equal(
            (await bench.state()).parked, None, "the mark after a release that only counts back"
        )
        await bench.expect_nothing_ready(
            "another caller holds it, and the earlier holder released it"
        )

    first = held_by(await after_the_end(1))
    second = held_by(await after_the_end(2))
    await release(first, counted=True)
    await release(replace(first, token="a stranger's"))
    third = held_by(await after_the_end(3))
    await release(first)
    fourth = held_by(await after_the_end(4))
    await release(third)
    await release(third)
    last = held_by(await after_the_end(4))
    await bench.provider.release_turn(TurnRelease(lease=last, counted=False))
    await bench.provider.release_turn(TurnRelease(lease=fourth, counted=False))
    turn = await bench.take()
    expect_equal(turn.attempt, 3, "attempt after both released uncounted")
    kept = await bench.keep(await after_the_end(4), remove=())
    await release(held_by(turn))
    await after_the_end(2)
    await release(held_by(kept))
    await after_the_end(2)
    await release(second)


@check("LEASE-22")
async def a_cancellation_ends_a_delay(bench: Bench) -> None:
    """A cancellation makes an instance ready that was released with a delay, and nothing else does."""
    cancel = result("cancel", kind=MessageKind.CANCEL, execution=None)
    turn = await bench.started()
    release = TurnRelease(lease=held_by(turn), delay=timedelta(seconds=30), counted=False)
    await bench.provider.release_turn(release)
    await bench.send(event("other"))
    expect_equal(len(await bench.lease()), 0, "leased during the delay")
    await bench.send(cancel)
    turn = await bench.take()
    expect_equal(delivered(turn), ["start", "other", "cancel"], "delivered at once")
    release = replace(release, lease=held_by(turn))
    await bench.provider.release_turn(release)
    expect_equal(len(await bench.lease()), 0, "leased during the second delay")
    await bench.send(cancel)
    turn = await bench.take()
    turn = await bench.keep(turn, remove=("cancel",))
    await bench.send(cancel)
    expect_equal(len(await bench.lease()), 0, "leased beside the lease that is kept")
    await bench.commit(turn, remove=("cancel",))
    turn = await bench.take()
    await bench.provider.release_turn(replace(release, lease=held_by(turn)))
    await bench.send(
        result("later", kind=MessageKind.CANCEL, execution=None, visible_at=bench.after(SECOND))
    )
    expect_equal(len(await bench.lease()), 0, "leased for a cancellation that is not visible yet")
    await bench.create("neighbour")
    await bench.commit(await bench.take("neighbour"), send=(cancel,))
    await bench.take()
