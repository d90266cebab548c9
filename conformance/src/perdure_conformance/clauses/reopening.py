"""RECOVER-1 to RECOVER-6, RECOVER-8, RECOVER-10: reopening an instance, and what becomes of what it had."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    CANCEL_ID,
    MANAGEMENT,
    RECOVERY,
    ActivityLease,
    CancellationWait,
    ExecutionState,
    InstanceStatus,
    LeasedTurn,
    MessageKind,
    ParentLink,
    ParkedMark,
    StoredEvent,
    TurnRelease,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceNotFound,
    InvalidInput,
    LeaseLost,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.samples import (
    COMPLETED,
    FAILED,
    LEASE,
    SECOND,
    delivered,
    event,
    new_instance,
    reopening,
    restart,
    result,
    timer,
    work,
)

PARENT = ParentLink(instance="parent", incarnation="parent@7", execution=3, event=11)
MARK = ParkedMark(reason="unregistered", details="details")


@check("RECOVER-1", since=(1, 1), needs=RECOVERY)
async def a_reopened_instance_runs(bench: Bench) -> None:
    """A reopened instance runs at the next execution without output, mark and delay, and its other fields stay."""
    for name, end in (("completed", COMPLETED), ("failed", FAILED), ("parked", None)):
        await bench.create(new_instance(name, version="1.0.0", parent=PARENT))
        bench.advance(SECOND)
        turn = await bench.keep(await bench.take(name), events=(b"1", b"2"))
        if end is not None:
            await bench.commit(turn, events=(b"3",), end=end)
        else:
            release = TurnRelease(lease=held_by(turn), delay=10 * LEASE, parked=MARK)
            await bench.provider.release_turn(release)
        before = await bench.state(name)
        bench.advance(SECOND)
        await bench.provider.reopen_instance(reopening(1, name, id="again"))
        expected = replace(
            before,
            execution=2,
            last_event=0,
            last_commit="again",
            status=InstanceStatus.RUNNING,
            output=None,
            parked=None,
            updated_at=bench.now,
        )
        for provider in (bench.provider, await bench.open()):
            found = await bench.state(name, provider=provider)
            expect_equal(found, expected, f"the {name} instance after its reopening")
        turn = await bench.take(name)
        expect_equal((turn.state, turn.attempt), (expected, 1), f"the turn of the {name} one")
        await bench.commit(turn, events=(b"again",), end=COMPLETED)


@check("RECOVER-2", since=(1, 1), needs=RECOVERY)
async def the_old_execution_stays(bench: Bench) -> None:
    """The old execution keeps its status, output, times and history, and stays readable."""
    turn = await bench.keep(await bench.started(), events=(b"1", b"2"))
    bench.advance(SECOND)
    await bench.commit(turn, events=(b"3",), end=FAILED)
    old, events = await executions(bench), await bench.history()
    bench.advance(SECOND)
    await bench.provider.reopen_instance(reopening())
    began = bench.now
    expect_equal(await bench.history(), events, "the old history after a reopening")
    expect_equal(await bench.history(execution=2), [], "the history of the new execution")
    bench.advance(SECOND)
    await bench.commit(await bench.take(), events=(b"new",), end=COMPLETED)
    expect_equal(await bench.history(), events, "the old history when the new execution ended")
    new = ExecutionState(
        execution=2,
        status=InstanceStatus.COMPLETED,
        output=b"done",
        event_count=1,
        started_at=began,
        completed_at=bench.now,
    )
    await expect_executions(bench, [*old, new], events)


async def executions(bench: Bench) -> list[ExecutionState]:
    """The executions of "alpha"; none where the provider lacks the capability to list them."""
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return []
    return list(await bench.admin.list_executions("alpha"))


async def expect_executions(
    bench: Bench, wanted: list[ExecutionState], events: list[StoredEvent]
) -> None:
    """Complain unless these are the executions, and these the events of the first, where they can be listed."""
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return
    expect_equal(await executions(bench), wanted, "the executions after a reopening")
    for each in wanted:
        found = await bench.admin.read_execution("alpha", each.execution)
        expect_equal(found, each, f"execution {each.execution}, read alone")
    page = await bench.admin.read_events("alpha", 1)
    expect_equal(list(page.events), events, "the events of the first execution")


@check("RECOVER-3", since=(1, 1), needs=RECOVERY)
async def an_ended_instance_begins_with_its_start_alone(bench: Bench) -> None:
    """An ended instance that is reopened has its start message alone; what is sent later follows it."""
    turn = await bench.with_activities(work("job"))
    await bench.send(
        event("left"),
        timer("due later", bench.after(2 * LEASE)),
        result("of any execution", kind=MessageKind.CHILD, execution=None),
        result(CANCEL_ID, kind=MessageKind.CANCEL, execution=None),
    )
    job = await bench.take_work()
    front = (event("front"),)
    await bench.commit(turn, remove=(), front=front, send=(event("own"),), end=COMPLETED)
    await bench.send(
        event("late"),
        event("late timer", visible_at=bench.after(2 * LEASE)),
        result("of the next", execution=2),
        result("late child", kind=MessageKind.CHILD, execution=None),
    )
    with expect_refusal(ActivityLeaseLost, "a completion after the end"):
        await bench.complete(job)
    await bench.provider.reopen_instance(reopening())
    turn = await bench.take()
    expect_equal(turn.messages, (restart(2),), "the messages after a reopening")
    await bench.send(event("left"), event("new"), timer("t", bench.after(LEASE), execution=2))
    turn = await bench.keep(turn, keep_for=10 * LEASE)
    expect_equal(delivered(turn), ["left", "new"], "messages that were sent after the reopening")
    bench.advance(3 * LEASE)
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["t"], "messages that were due later")
    await bench.commit(turn)
    await bench.expect_nothing_ready("everything was delivered")
    await bench.expect_no_work("the activity was that of the old execution")


@check("RECOVER-4", since=(1, 1), needs=RECOVERY)
async def a_running_instance_keeps_its_other_messages(bench: Bench) -> None:
    """A running execution ends as continued; what names it is void, and other messages stay in order behind the start."""
    turn = await bench.with_activities(work("leased"), work("waiting"))
    leased = (await bench.lease_work(limit=1))[0]
    turn = await bench.keep(turn, front=(event("front"), result("old front")))
    child = result("child", kind=MessageKind.CHILD, execution=None)
    await bench.send(
        event("one"),
        result("old result"),
        timer("old timer", bench.after(LEASE / 2)),
        event("later", visible_at=bench.after(LEASE / 2)),
        child,
        result(CANCEL_ID, kind=MessageKind.CANCEL, execution=None),
        event("two"),
    )
    old = await executions(bench)
    bench.advance(SECOND)
    await bench.provider.reopen_instance(reopening())
    if old:
        ended = replace(
            old[0], status=InstanceStatus.CONTINUED_AS_NEW, output=None, completed_at=bench.now
        )
        expect_equal((await executions(bench))[0], ended, "the execution that was left")
    await bench.send(result("old result", execution=2, data=b"new"))
    turn = await bench.take(lease_for=2 * LEASE)
    wanted = ["start-2", "front", "one", "child", CANCEL_ID, "two", "old result"]
    expect_equal(delivered(turn), wanted, "the messages after a reopening")
    expect_equal(turn.messages[-1].data, b"new", "the result that the new execution was sent")
    bench.advance(LEASE)
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["later"], "messages that were due later")
    with expect_refusal(ActivityLeaseLost, "a completion for the execution that was left"):
        await bench.complete(leased)
    await bench.expect_no_work("the activities were those of the old execution")
    await bench.commit(turn, end=COMPLETED)


@check("RECOVER-5", since=(1, 1), needs=RECOVERY)
async def a_reopening_ends_all_leases(bench: Bench) -> None:
    """After a reopening the leases of the old execution are gone, and the instance can be leased at once."""
    turn = await bench.with_activities(work("job"))
    job = await bench.take_work()
    bench.advance(LEASE)
    await bench.send(event("more"))
    second = await bench.take()
    await bench.provider.reopen_instance(reopening())
    third = await bench.take()
    expect_equal(third.attempt, 1, "the attempt after a reopening")
    for late in (turn, second):
        with expect_refusal(LeaseLost, "a commit of the execution that was left"):
            await bench.commit(late, events=(b"stale",))
        with expect_refusal(LeaseLost, "a commit under the lease that a reopening has ended"):
            await bench.commit(late, execution=2, expected_event=0, events=(b"stale",))
        gone = await bench.provider.renew_turns([held_by(late)], lease_for=LEASE)
        expect_equal(gone, frozenset({held_by(late)}), "turn leases gone after a reopening")
        release = TurnRelease(lease=held_by(late), counted=False, delay=LEASE, parked=MARK)
        await bench.provider.release_turn(release)
    await expect_gone(bench, job.lease)
    with expect_refusal(ActivityLeaseLost, "a completion for the execution that was left"):
        await bench.complete(job)
    await bench.provider.release_turn(TurnRelease(lease=held_by(third)))
    fourth = await bench.take()
    found = (fourth.attempt, fourth.state.parked, delivered(fourth))
    expect_equal(found, (2, None, ["start-2", "more"]), "after late releases of the old leases")
    await bench.commit(fourth, events=(b"new",))
    expect_equal([each.data for each in await bench.history(execution=2)], [b"new"], "the history")


async def expect_gone(bench: Bench, lease: ActivityLease) -> None:
    """Complain unless renewals, and waits that tell of cancellations, name the activity's lease."""
    gone = await bench.provider.renew_activities([lease], lease_for=LEASE)
    expect_equal(gone, frozenset({lease}), "activity leases gone at a renewal")
    if bench.provider.tells_of_cancellations and bench.provider.tells_of_changes:
        wait = CancellationWait(leases=(lease,), timeout=LEASE)
        gone = await bench.within(bench.provider.wait_for_cancellation(wait), "a wait")
        expect_equal(gone, frozenset({lease}), "activity leases gone at a wait")


@check("RECOVER-6", since=(1, 1), needs=RECOVERY)
async def a_repeated_reopening_has_no_effect(bench: Bench) -> None:
    """A repeat has no effect until the next commit; a reopening of another execution or incarnation is refused."""
    await bench.commit(await bench.started(), events=(b"1",), end=FAILED)
    good = reopening()
    await expect_no_reopening(bench, InstanceNotFound, "another", incarnation="another")
    await expect_no_reopening(bench, HistoryConflict, "a later", execution=2)
    with expect_refusal(InstanceNotFound, "a reopening of an absent instance") as refusal:
        await bench.provider.reopen_instance(reopening(1, "absent"))
    expect_equal(refusal.error.instance, "absent", "the instance that the error names")
    await bench.provider.reopen_instance(good)
    before = await bench.state()
    bench.advance(SECOND)
    await bench.provider.reopen_instance(good)
    turn = await bench.take()
    await (await bench.open()).reopen_instance(good)
    expect_equal(await bench.state(), before, "the state after repeats")
    await expect_no_reopening(bench, HistoryConflict, "the first", execution=1)
    turn = await bench.keep(turn, events=(b"1",))
    expect_equal(delivered(turn), [], "messages that repeats have added")
    with expect_refusal(HistoryConflict, "a repeat after a commit") as conflict:
        await bench.provider.reopen_instance(good)
    expect_equal(conflict.error.found, (2, 1), "the execution and event that the error names")
    await expect_running(bench, turn)


async def expect_no_reopening(
    bench: Bench,
    refused_as: type[InstanceNotFound | HistoryConflict],
    which: str,
    *,
    execution: int = 1,
    incarnation: str | None = None,
) -> None:
    """Complain unless a reopening under another id is refused and changes nothing."""
    before = await bench.state(), await executions(bench)
    with expect_refusal(refused_as, f"a reopening of {which} execution or incarnation") as refusal:
        bad = reopening(execution, id="another", incarnation=incarnation)
        await bench.provider.reopen_instance(bad)
    expect_equal(refusal.error.instance, "alpha", "the instance that the error names")
    found = await bench.state(), await executions(bench)
    expect_equal(found, before, "the state after a refused reopening")


async def expect_running(bench: Bench, turn: LeasedTurn) -> None:
    """Complain unless this turn is the only work that there is, and can be committed."""
    await bench.expect_nothing_ready("the only instance is leased")
    await bench.commit(turn, events=(b"2",), end=COMPLETED)
    await bench.expect_nothing_ready("the only instance has ended")
    expect_equal((await bench.state()).output, b"done", "the output of the new execution")


@check("RECOVER-8", since=(1, 1), needs=RECOVERY)
async def a_reopening_may_change_the_version(bench: Bench) -> None:
    """A reopening sets the engine, and sets or removes the pin of the version, where it says so; otherwise they stay."""
    await bench.create(new_instance(version="1.0.0"))
    cases: list[tuple[str | None, bool, str | None]] = [
        (None, False, "1.0.0"),
        ("2.0.0", False, "2.0.0"),
        (None, False, "2.0.0"),
        (None, True, None),
        ("1.0.0", True, "1.0.0"),
    ]
    for execution, (version, unpin, wanted) in enumerate(cases, 1):
        if execution % 2:
            await bench.commit(await bench.take(), end=FAILED)
        await bench.provider.reopen_instance(reopening(execution, version=version, unpin=unpin))
        found = (await bench.state()).version
        expect_equal(found, wanted, f"the version, set to {version}, unpinned {unpin}")
    turn = await bench.take()
    found = (turn.state.version, turn.state.engine)
    expect_equal(found, ("1.0.0", 1), "the version and engine that the turn has")
    await bench.provider.reopen_instance(reopening(6, engine=7))
    await bench.expect_nothing_ready("the engine is newer than the caller's")
    state = await bench.state()
    expect_equal((state.version, state.engine), ("1.0.0", 7), "the version and engine")
    await bench.provider.reopen_instance(reopening(7))
    expect_equal((await bench.state()).engine, 7, "the engine that stays")


@check("RECOVER-10", since=(1, 1), needs=RECOVERY)
async def a_reopening_needs_its_start(bench: Bench) -> None:
    """A reopening whose start message is not that of the next execution is refused and changes nothing."""
    await bench.commit(await bench.started(), end=FAILED)
    before = await bench.state()
    good = reopening()
    for start in (
        replace(good.start, kind=MessageKind.EVENT),
        replace(good.start, execution=1),
        replace(good.start, execution=None),
        replace(good.start, incarnation=None),
        replace(good.start, instance="beta"),
        replace(good.start, visible_at=bench.now),
    ):
        with expect_refusal(InvalidInput, f"a reopening with {start}"):
            await bench.provider.reopen_instance(replace(good, start=start))
    expect_equal(await bench.state(), before, "the instance after refused reopenings")
    await bench.expect_nothing_ready("the reopenings were refused")
    await bench.provider.reopen_instance(good)
    expect_equal(delivered(await bench.take()), ["start-2"], "the messages after a good one")
