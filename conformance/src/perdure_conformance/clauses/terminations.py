"""RECOVER-11, RECOVER-12 and RECOVER-14: ending an instance without a turn, and the waits that notice recovery."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from perdure.contract import (
    CANCEL_ID,
    RECOVERY,
    ChangeWait,
    InstanceStatus,
    MessageKind,
    ParkedMark,
    TurnRelease,
    WorkWait,
)
from perdure.errors import ActivityLeaseLost, InstanceNotFound, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.reopening import executions, expect_gone
from perdure_conformance.clauses.waiting import MINUTE, ends, ends_after
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    COMPLETED,
    LEASE,
    SECOND,
    SERVES,
    delivered,
    event,
    incarnation_of,
    reopening,
    result,
    termination,
    timer,
    work,
)

MARK = ParkedMark(reason="unregistered", details="details")


@check("RECOVER-11", since=(1, 1), needs=RECOVERY)
async def a_terminated_instance_has_failed(bench: Bench) -> None:
    """A termination ends a running instance as Failed, with its events and messages, whether its lease is live, expired or absent."""
    await bench.commit(await bench.started("neighbour"))
    for lease in ("live", "expired", "absent"):
        await expect_termination(bench, lease)


async def expect_termination(bench: Bench, lease: str) -> None:
    """Terminate an instance whose turn lease is as said, and look at all that it had."""
    turn = await bench.with_activities(work("leased"), work("waiting"), instance=lease)
    job = (await bench.lease_work(limit=1))[0]
    await bench.send(
        event("left", lease),
        timer("timer", bench.after(LEASE / 2), lease),
        result(CANCEL_ID, lease, kind=MessageKind.CANCEL, execution=None),
    )
    if lease == "expired":
        bench.advance(LEASE)
    elif lease == "absent":
        await bench.provider.release_turn(
            TurnRelease(lease=held_by(turn), delay=LEASE, parked=MARK)
        )
    before = await bench.state(lease)
    bench.advance(SECOND)
    told = (event(f"from {lease}", "neighbour"), event("to itself", lease))
    ended = await bench.provider.terminate_instance(termination(lease, send=told))
    expect_equal(ended, True, "the answer of a termination")
    expected = replace(
        before,
        status=InstanceStatus.FAILED,
        output=b"why",
        last_event=before.last_event + 1,
        last_commit="termination",
        updated_at=bench.now,
        parked=None,
    )
    found = await bench.state(lease, provider=await bench.open())
    expect_equal(found, expected, f"a terminated instance whose lease was {lease}")
    history = [each.data for each in await bench.history(lease)]
    expect_equal(history, [b"scheduled", b"terminated"], "its history")
    with expect_refusal(LeaseLost, "a commit of a terminated instance"):
        await bench.commit(turn, events=(b"stale",))
    with expect_refusal(LeaseLost, "a commit of a terminated instance that knows its last event"):
        await bench.commit(turn, expected_event=2, events=(b"stale",))
    gone = await bench.provider.renew_turns([held_by(turn)], lease_for=LEASE)
    expect_equal(gone, frozenset({held_by(turn)}), "turn leases gone after a termination")
    with expect_refusal(ActivityLeaseLost, "a completion for a terminated instance"):
        await bench.complete(job)
    await expect_gone(bench, job.lease)
    neighbour = await bench.take("neighbour")
    expect_equal(delivered(neighbour), [f"from {lease}"], "what the termination sent")
    await bench.commit(neighbour)
    await bench.send(event("late", lease))
    bench.advance(2 * LEASE)
    await bench.expect_nothing_ready("a terminated instance has messages")
    await bench.expect_no_work("a terminated instance has activities")


@check("RECOVER-12", since=(1, 1), needs=RECOVERY)
async def a_repeated_termination_has_no_effect(bench: Bench) -> None:
    """A repeat is answered True and has no effect; an instance that ended otherwise is left alone and answered False."""
    await bench.started()
    await bench.create("neighbour")
    good = termination(send=(event("told", "neighbour"),))
    for bad in (
        replace(good, incarnation="another"),
        replace(good, instance="absent", incarnation=incarnation_of("absent")),
    ):
        with expect_refusal(InstanceNotFound, "a termination of another incarnation") as refusal:
            await bench.provider.terminate_instance(bad)
        expect_equal(refusal.error.instance, bad.instance, "the instance that the error names")
    await bench.commit(await bench.take("neighbour"))
    expect_equal(await bench.provider.terminate_instance(good), True, "the first answer")
    await bench.commit(await bench.take("neighbour"))
    before = await bench.state(), await bench.history(), await executions(bench)
    bench.advance(SECOND)
    for provider in (bench.provider, await bench.open()):
        expect_equal(await provider.terminate_instance(good), True, "the answer of a repeat")
    second = replace(good, id="second")
    expect_equal(await bench.provider.terminate_instance(second), False, "that of another one")
    found = await bench.state(), await bench.history(), await executions(bench)
    expect_equal(found, before, "the instance after repeats")
    await bench.expect_nothing_ready("a repeat sends nothing")
    await bench.commit(await bench.started("done"), end=COMPLETED)
    ended = await bench.state("done")
    late = termination("done", send=(event("told", "neighbour"),))
    expect_equal(await bench.provider.terminate_instance(late), False, "of an ended instance")
    expect_equal(await bench.state("done"), ended, "the ended instance")
    await bench.expect_nothing_ready("a termination that came too late sends nothing")


@check("RECOVER-14", since=(1, 1), needs=RECOVERY)
async def waits_end_with_recovery(bench: Bench) -> None:
    """Waits of a provider that tells of changes end with a reopening and a termination, and those that tell of work with the new start."""
    provider = bench.provider
    await bench.commit(await bench.started(), id="c-1", end=COMPLETED)

    def changed(commit: str) -> Awaitable[object]:
        wait = ChangeWait(instance="alpha", timeout=MINUTE, last_commit=commit)
        return provider.wait_for_change(wait)

    def work_for_us() -> Awaitable[object]:
        return provider.wait_for_work(WorkWait(timeout=MINUTE, serves=SERVES))

    async def reopen() -> None:
        await provider.reopen_instance(reopening(1))

    async def terminate() -> None:
        await provider.terminate_instance(termination())

    async def reopen_again() -> None:
        await provider.reopen_instance(reopening(2))

    if provider.tells_of_changes:
        expect(await ends_after(bench, changed("c-1"), reopen), "reopened, and the wait goes on")
        expect(await ends(bench, changed("c-1"), within=MINUTE / 2), "missed a reopening before it")
    else:
        await reopen()
    await bench.take()
    if provider.tells_of_changes:
        ended = await ends_after(bench, changed("reopening-1"), terminate)
        expect(ended, "terminated, and the wait for a change goes on")
    else:
        await terminate()
    if provider.tells_of_work:
        ended = await ends_after(bench, work_for_us(), reopen_again)
        expect(ended, "reopened, and the wait for work goes on")
