"""DELETE-1 to DELETE-5 and DELETE-13: deleting an instance, what becomes of its id, and who notices."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, replace

from perdure.contract import (
    CANCEL_ID,
    DELETION,
    MANAGEMENT,
    RECOVERY,
    ActivityLease,
    ActivityRelease,
    CancellationWait,
    ChangeWait,
    InstanceStatus,
    LeasedActivity,
    LeasedTurn,
    MessageKind,
    NewChild,
    ParentLink,
    ParkedMark,
    StoreMetrics,
    StoreQueueDepths,
    TurnRelease,
)
from perdure.errors import (
    ActivityLeaseLost,
    InstanceNotFound,
    InstanceRunning,
    LeaseLost,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.waiting import MINUTE, ends, ends_after
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    FAILED,
    LEASE,
    SECOND,
    delivered,
    event,
    incarnation_of,
    new_instance,
    reopening,
    restart,
    result,
    termination,
    timer,
    work,
)

MARK = ParkedMark(reason="unregistered", details="details")
OLD = incarnation_of("alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An instance that has ended, and what its workers still hold of it."""

    turn: LeasedTurn
    job: LeasedActivity


async def ended(bench: Bench, instance: str = "alpha") -> Ended:
    """An instance with two executions, which ended with messages and activities of all kinds."""
    turn = await bench.started(instance)
    turn = await bench.keep(
        turn, events=(b"1", b"2"), end=AGAIN, front=(restart(2, instance), event("front", instance))
    )
    turn = await bench.keep(
        turn,
        remove=(f"start-{2}",),
        events=(b"3",),
        add=(work("job"), work("waiting"), work("later", visible_at=bench.after(LEASE / 2))),
    )
    job = (await bench.lease_work(limit=1))[0]
    await bench.send(
        event("left", instance),
        event("left for later", instance, visible_at=bench.after(LEASE / 2)),
        timer("timer", bench.after(LEASE / 2), instance, execution=2),
        result("child", instance, kind=MessageKind.CHILD, execution=None),
        result(CANCEL_ID, instance, kind=MessageKind.CANCEL, execution=None),
    )
    await bench.commit(turn, remove=(), events=(b"4",), end=COMPLETED)
    await bench.send(event("late", instance))
    return Ended(turn=turn, job=job)


async def delete(bench: Bench, instance: str = "alpha") -> bool:
    """Delete the instance that `new_instance` makes of this id."""
    return await bench.provider.delete_instance(instance, incarnation=incarnation_of(instance))


@check("DELETE-1", since=(1, 1), needs=DELETION)
async def a_deleted_instance_is_seen_nowhere(bench: Bench) -> None:
    """A deleted instance is seen by no call of any provider object."""
    other = await bench.open()
    await ended(bench)
    bench.advance(LEASE)
    expect_equal(await delete(bench), True, "the answer of a deletion")
    for provider in (bench.provider, other, await bench.open()):
        expect_equal(await provider.read_instance("alpha"), None, "a deleted instance")
        for execution in (1, 2):
            with expect_refusal(InstanceNotFound, "the history of a deleted instance"):
                await bench.history(execution=execution, provider=provider)
        await bench.expect_nothing_ready("the only instance was deleted", provider=provider)
    await bench.expect_no_work("the only instance was deleted")
    if MANAGEMENT in bench.backend.declaration.capabilities:
        await expect_unlisted(bench)


async def expect_unlisted(bench: Bench) -> None:
    """Complain if management knows of "alpha", or of anything."""
    admin = bench.admin
    for status in (None, *InstanceStatus):
        page = await admin.list_instances(status=status, limit=10)
        expect_equal((page.ids, page.next_token), ((), None), f"a listing of {status}")
    expect_equal(len(await admin.list_executions("alpha")), 0, "executions of a deleted instance")
    expect_equal(len(await admin.list_execution_numbers("alpha")), 0, "their numbers")
    expect_equal(await admin.read_execution("alpha", 1), None, "one of them")
    page = await admin.read_events("alpha", 1)
    expect_equal((page.events, page.more), ((), False), "events of a deleted instance")
    expect_equal(await admin.count_instances(), StoreMetrics(), "counts after a deletion")
    expect_equal(await admin.count_queues(), StoreQueueDepths(), "depths after a deletion")


@check("DELETE-2", since=(1, 1), needs=DELETION)
async def what_cannot_be_deleted_stays(bench: Bench) -> None:
    """A running instance is refused, another incarnation or none is answered False, and nothing changes."""
    turn = await bench.started()
    await bench.send(event("more"))
    before = await bench.state()
    with expect_refusal(InstanceRunning, "a deletion of a running instance") as refusal:
        await delete(bench)
    expect_equal(refusal.error.instance, "alpha", "the instance that the error names")
    expect_equal(await delete(bench, "absent"), False, "a deletion of an absent instance")
    found = await bench.provider.delete_instance("alpha", incarnation="another")
    expect_equal(found, False, "a deletion of another incarnation")
    expect_equal(await bench.state(), before, "the instance after deletions that had no effect")
    turn = await bench.keep(turn, events=(b"1",))
    expect_equal(delivered(turn), ["more"], "its messages")
    await bench.commit(turn, events=(b"2",), end=FAILED)
    before = await bench.state()
    found = await bench.provider.delete_instance("alpha", incarnation="another")
    expect_equal(found, False, "a deletion of another incarnation of an ended instance")
    expect_equal(await bench.state(), before, "the ended instance")
    await bench.send(event("early", "absent"))
    expect_equal(await delete(bench, "absent"), False, "a deletion of an id that events wait for")
    await bench.create("absent")
    expect_equal(delivered(await bench.take("absent")), ["start", "early"], "the events that wait")
    expect_equal(await delete(bench), True, "a deletion of the ended instance")
    expect_equal(await delete(bench), False, "its repeat")


@check("DELETE-3", since=(1, 1), needs=DELETION)
async def a_new_instance_gets_nothing_of_a_deleted_one(bench: Bench) -> None:
    """The id is free at once, and the instance that gets it next has nothing of the one before."""
    await ended(bench)
    await delete(bench)
    bench.advance(SECOND)
    new = replace(new_instance(incarnation="new"), version="1.0.0")
    await bench.create(new)
    state = await bench.state(provider=await bench.open())
    found = (state.incarnation, state.execution, state.last_event, state.last_commit, state.output)
    expect_equal(found, ("new", 1, 0, None, None), "the plain fields of the new instance")
    found_times = (state.created_at, state.updated_at, state.parked, state.parent)
    expect_equal(found_times, (bench.now, bench.now, None, None), "its times, mark and parent")
    turn = await bench.take(lease_for=3 * LEASE)
    expect_equal(turn.messages, (new.start,), "its messages")
    expect_equal(turn.attempt, 1, "its attempt")
    expect_equal(await bench.history(incarnation="new"), [], "its history")
    turn = await bench.keep(turn, events=(b"new",), add=(work("job"),), keep_for=3 * LEASE)
    expect_equal((await bench.take_work()).delivery, 1, "the delivery of its activity")
    bench.advance(2 * LEASE)
    turn = await bench.keep(turn, events=(b"again",))
    expect_equal(delivered(turn), [], "messages that are due later")
    await bench.send(event("left"), event("front"))
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["left", "front"], "messages with ids that the old one used")
    events = [each.data for each in await bench.history(incarnation="new")]
    expect_equal(events, [b"new", b"again"], "the history of the new instance")
    if MANAGEMENT in bench.backend.declaration.capabilities:
        expect_equal(list(await bench.admin.list_execution_numbers("alpha")), [1], "executions")
        page = await bench.admin.list_instances(status=InstanceStatus.CONTINUED_AS_NEW, limit=10)
        expect_equal(page.ids, (), "instances that continued as new")
        count = await bench.admin.count_instances()
        expected = StoreMetrics(
            total_instances=1, total_executions=1, running_instances=1, total_events=2
        )
        expect_equal(count, expected, "counts")


@check("DELETE-4", since=(1, 1), needs=DELETION)
async def late_calls_for_a_deleted_instance_have_no_effect(bench: Bench) -> None:
    """Late calls for a deleted instance are refused or have no effect, whether or not the id is in use again."""
    old = await ended(bench)
    await delete(bench)
    await expect_late_calls_refused(bench, old)
    await bench.send(event("early"), event("later"))
    new = new_instance(incarnation="new")
    await bench.create(new)
    turn = await bench.take(lease_for=4 * LEASE)
    expect_equal(delivered(turn), ["start", "early", "later"], "events that came after a deletion")
    turn = await bench.keep(turn, add=(work("job"), work("waiting")), keep_for=4 * LEASE)
    jobs = {each.id: each for each in await bench.lease_work(lease_for=4 * LEASE)}
    before = await bench.state()
    await expect_late_calls_refused(bench, old)
    expect_equal(await bench.state(), before, "the new instance after late calls for the old one")
    gone = await bench.provider.renew_turns([held_by(turn)], lease_for=4 * LEASE)
    expect_equal(gone, frozenset(), "turn leases of the new instance that are gone")
    gone = await bench.provider.renew_activities(
        [each.lease for each in jobs.values()], lease_for=4 * LEASE
    )
    expect_equal(gone, frozenset(), "activity leases of the new instance that are gone")
    turn = await bench.keep(turn, events=(b"new",))
    expect_equal(delivered(turn), [], "messages that late calls have sent")


async def expect_late_calls_refused(bench: Bench, old: Ended) -> None:
    """Make all calls that workers and clients of a deleted instance may still make."""
    turn, job, provider = old.turn, old.job, bench.provider
    for expected in (turn.state.last_event, 0):
        with expect_refusal(LeaseLost, "a commit of a deleted instance"):
            await bench.commit(turn, expected_event=expected, events=(b"stale",))
    with expect_refusal(ActivityLeaseLost, "a completion for a deleted instance"):
        await bench.complete(job)
    release = TurnRelease(lease=held_by(turn), counted=False, delay=LEASE, parked=MARK)
    await provider.release_turn(release)
    gone = await provider.renew_turns([held_by(turn)], lease_for=LEASE)
    expect_equal(gone, frozenset({held_by(turn)}), "turn leases gone after a deletion")
    await provider.release_activity(ActivityRelease(lease=job.lease, counted=False, parked=MARK))
    await expect_named(bench, job.lease)
    await bench.send(
        result("late result", execution=2),
        result("late child", kind=MessageKind.CHILD, execution=None),
        result(CANCEL_ID, kind=MessageKind.CANCEL, execution=None),
    )
    with expect_refusal(InstanceNotFound, "the history of a deleted instance"):
        await bench.history()
    expect_equal(await delete(bench), False, "a repeated deletion")
    with expect_refusal(InstanceNotFound, "a pruning of a deleted instance"):
        await provider.prune_executions("alpha", incarnation=OLD, before=2)
    if RECOVERY in bench.backend.declaration.capabilities:
        with expect_refusal(InstanceNotFound, "a reopening of a deleted instance"):
            await provider.reopen_instance(reopening(2))
        with expect_refusal(InstanceNotFound, "a termination of a deleted instance"):
            await provider.terminate_instance(termination())


async def expect_named(bench: Bench, lease: ActivityLease) -> None:
    """Complain unless renewals, and waits that tell of cancellations, name the lease."""
    gone = await bench.provider.renew_activities([lease], lease_for=LEASE)
    expect_equal(gone, frozenset({lease}), "activity leases gone at a renewal")
    if bench.provider.tells_of_cancellations and bench.provider.tells_of_changes:
        wait = CancellationWait(leases=(lease,), timeout=LEASE)
        gone = await bench.within(bench.provider.wait_for_cancellation(wait), "a wait")
        expect_equal(gone, frozenset({lease}), "activity leases gone at a wait")


@check("DELETE-5", since=(1, 1), needs=DELETION)
async def relatives_stay(bench: Bench) -> None:
    """The parent and the children of a deleted instance, and what they have, stay."""
    turn = await bench.started("parent")
    link = ParentLink(instance="parent", incarnation=incarnation_of("parent"), execution=1, event=1)
    children = [replace(new_instance(name), parent=link) for name in ("alpha", "beta")]
    await bench.commit(
        turn, events=(b"1",), create=tuple(NewChild(instance=each) for each in children)
    )
    turns = {each.state.instance: each for each in await bench.lease()}
    answer = result("answer", "parent", kind=MessageKind.CHILD)
    await bench.commit(turns["alpha"], send=(answer,), end=COMPLETED)
    await bench.commit(turns["beta"], events=(b"1",), add=(work("job"),))
    before = await bench.state("parent"), await bench.state("beta")
    await delete(bench)
    found = await bench.state("parent"), await bench.state("beta")
    expect_equal(found, before, "parent and sibling of a deleted instance")
    turn = await bench.take("parent")
    expect_equal(delivered(turn), ["answer"], "the messages of the parent")
    await bench.commit(turn, end=COMPLETED)
    await delete(bench, "parent")
    expect_equal(await bench.state("beta"), before[1], "the child of a deleted instance")
    expect_equal(len(await bench.history("beta")), 1, "its history")
    expect_equal((await bench.take_work()).instance, "beta", "its activity")


@check("DELETE-13", since=(1, 1), needs=DELETION)
async def waits_for_changes_end_with_a_deletion(bench: Bench) -> None:
    """The wait for a change of a provider that tells of changes ends when the instance is deleted or replaced."""
    provider = bench.provider
    if not provider.tells_of_changes:
        return

    def changed() -> Awaitable[object]:
        wait = ChangeWait(instance="alpha", timeout=MINUTE, last_commit="c-1")
        return provider.wait_for_change(wait)

    async def replace_it() -> None:
        await bench.create(replace(new_instance(incarnation="third"), replaces="second"))

    await bench.commit(await bench.started(), id="c-1", end=COMPLETED)
    expect(
        await ends_after(bench, changed(), lambda: delete(bench)), "deleted, and the wait goes on"
    )
    expect(await ends(bench, changed(), within=MINUTE / 2), "missed a deletion before it")
    await bench.create(new_instance(incarnation="second"))
    await bench.commit(await bench.take(), id="c-1", end=COMPLETED)
    expect(await ends_after(bench, changed(), replace_it), "replaced, and the wait goes on")
