"""COMMIT-18 to COMMIT-24: what a commit does to its instance: the end, the version, the lease, the mark."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    ExecutionEnd,
    InstanceStatus,
    ParkedMark,
    Serves,
    TurnRelease,
)
from perdure.errors import ActivityLeaseLost, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    FAILED,
    LEASE,
    SECOND,
    SERVES,
    delivered,
    event,
    new_instance,
    restart,
    result,
    timer,
    work,
)

INSTANT = timedelta(microseconds=1)
THREE_FIFTHS = bytes(MAX_BYTES_PER_DELIVERY * 3 // 5)
"""Two of these are too many for one delivery."""


@check("COMMIT-18")
async def the_end_ends_everything(bench: Bench) -> None:
    """The end sets status and output, voids mailbox and activities, and releases the lease."""
    for end in (COMPLETED, FAILED):
        name = f"{end.status}"
        turn = await bench.with_activities(work("leased"), work("waiting"), instance=name)
        leased = (await bench.lease_work(limit=1))[0]
        await bench.send(event("unread", name))
        answer = await bench.commit(
            turn,
            id=f"end-{name}",
            events=(b"last",),
            end=end,
            keep_for=LEASE,
            send=(event("to-self", name, visible_at=bench.after(SECOND)),),
        )
        expect_equal((answer.lease_until, answer.messages), (None, ()), "answer of an end")
        state = await bench.state(name)
        expect_equal(
            (state.status, state.output, state.last_event, state.last_commit, state.execution),
            (end.status, end.output, 2, f"end-{name}", 1),
            "fields of an ended instance",
        )
        expect_equal(len(await bench.history(name)), 2, "events of an ended instance")
        await bench.expect_no_work("the instance has ended")
        gone = await bench.provider.renew_activities([leased.lease], lease_for=LEASE)
        expect_equal(gone, frozenset({leased.lease}), "activity leases gone after the end")
        with expect_refusal(LeaseLost, "a commit after the end"):
            await bench.commit(turn, expected_event=2)
        bench.advance(2 * LEASE)
        await bench.expect_nothing_ready("the instance has ended")
        await bench.expect_no_work("the instance has ended, and the lease ran out")
    await bench.commit(
        await bench.started("silent"), end=ExecutionEnd(status=InstanceStatus.COMPLETED)
    )
    expect_equal((await bench.state("silent")).output, None, "the output of an end without one")


@check("COMMIT-19")
async def a_new_execution_begins(bench: Bench) -> None:
    """The next execution starts empty; what names the old one is void, the rest is kept."""
    turn = await bench.with_activities(work("leased"), work("waiting"))
    leased = (await bench.lease_work(limit=1))[0]
    await bench.send(
        event("e-1"),
        result("child", execution=1),
        timer("timer", bench.after(SECOND)),
        result("cancel", execution=None),
        event("e-2", visible_at=bench.after(SECOND)),
    )
    await bench.commit(turn, id="again", events=(b"end",), end=AGAIN, front=(restart(2),))
    state = await bench.state()
    expect_equal(
        (state.execution, state.last_event, state.status, state.output, state.last_commit),
        (2, 0, InstanceStatus.RUNNING, None, "again"),
        "fields of the next execution",
    )
    expect_equal([e.data for e in await bench.history()], [b"scheduled", b"end"], "old history")
    expect_equal(await bench.history("alpha", 2), [], "new history")
    await bench.expect_no_work("its execution is over")
    with expect_refusal(ActivityLeaseLost, "a completion for the old execution"):
        await bench.complete(leased)
    await bench.send(event("e-3"))
    bench.advance(SECOND)
    turn = await bench.take()
    wanted = ["start-2", "e-1", "cancel", "e-3", "e-2"]
    expect_equal(sorted(delivered(turn)), sorted(wanted), "messages of the next execution")
    expect_equal(turn.messages[0].id, "start-2", "the first message of the next execution")
    kept = [each for each in delivered(turn) if each in ("e-1", "cancel", "e-3")]
    expect_equal(kept, ["e-1", "cancel", "e-3"], "the order of what was kept")
    await bench.commit(turn, events=(b"new",), end=COMPLETED)
    expect_equal([e.data for e in await bench.history("alpha", 2)], [b"new"], "second history")


@check("COMMIT-20")
async def pins_and_engines_are_set(bench: Bench) -> None:
    """`version`, `unpin` and `engine` take effect, and stay where none is given."""
    turn = await bench.started()
    turn = await bench.keep(turn, version="1.0.0")
    expect_equal((await bench.state()).version, "1.0.0", "version after it was set")
    turn = await bench.keep(turn)
    expect_equal((await bench.state()).version, "1.0.0", "version after a commit without one")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    expect_equal((await bench.state()).version, "1.0.0", "version of the next execution")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(3),), version="2.0.0")
    expect_equal((await bench.state()).version, "2.0.0", "version that a new execution was given")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(4),), unpin=True)
    expect_equal((await bench.state()).version, None, "version after unpin")
    turn = await bench.keep(turn, version="9.0.0", engine=3, remove=())
    state = await bench.state()
    expect_equal((state.version, state.engine), ("9.0.0", 3), "version and engine")
    await bench.commit(turn, remove=())
    expect_equal((await bench.state()).engine, 3, "engine after a commit without one")
    await bench.expect_nothing_ready("the instance is pinned to a version that no caller serves")
    await expect_a_lower_engine(bench)
    await expect_found_by_its_new_version(bench)


async def expect_a_lower_engine(bench: Bench) -> None:
    """Complain unless an engine that a commit lowers is the one that the instance needs."""
    await bench.create(new_instance("lowered", engine=3))
    turn = await bench.take("lowered")
    await bench.send(event("more", "lowered"))
    await bench.commit(turn, remove=("start",), engine=2)
    expect_equal((await bench.state("lowered")).engine, 2, "an engine that was lowered")
    older = Serves(orchestrations=SERVES.orchestrations, engine=2)
    turns = await bench.lease(serves=older)
    found = [each.state.instance for each in turns]
    expect_equal(found, ["lowered"], "leased by an engine that it needs no longer")
    await bench.commit(turns[0], end=COMPLETED)


async def expect_found_by_its_new_version(bench: Bench) -> None:
    """Complain unless an instance whose pin changed is leased by a caller that serves only the new version."""
    new_code = Serves(orchestrations={"flow": frozenset({"2.0.0"})})
    await bench.create(new_instance("moved", version="1.0.0"))
    turn = await bench.take("moved")
    await bench.keep(turn, end=AGAIN, front=(restart(2, "moved"),), version="2.0.0")
    bench.advance(LEASE)
    found = [each.state.instance for each in await bench.lease(serves=new_code)]
    expect_equal(found, ["moved"], "leased by its new version after the kept lease ran out")


@check("COMMIT-21")
async def a_lease_is_kept(bench: Bench) -> None:
    """With `keep_for` the lease goes on, extended, at attempt 1."""
    turn = await bench.started()
    bench.advance(20 * SECOND)
    answer = await bench.commit(turn, events=(b"1",), keep_for=LEASE)
    expect_equal(answer.lease_until, bench.after(LEASE), "lease_until")
    await bench.send(event("more"))
    bench.advance(LEASE - INSTANT)
    await bench.expect_nothing_ready("the kept lease is live")
    answer = await bench.commit(turn, expected_event=1, events=(b"2",), keep_for=LEASE)
    expect_equal(answer.lease_until, bench.after(LEASE), "lease_until of the second commit")
    expect_equal((await bench.state()).last_event, 2, "the second commit under one lease")
    bench.advance(LEASE)
    turn = await bench.take()
    expect_equal((turn.attempt, delivered(turn)), (2, ["more"]), "after the kept lease ran out")
    turn = await bench.keep(turn, remove=(), keep_for=SECOND)
    bench.advance(SECOND - INSTANT)
    await bench.expect_nothing_ready("a lease that a commit made shorter is live")
    bench.advance(INSTANT)
    await bench.take()


@check("COMMIT-22")
async def a_kept_lease_gets_new_messages(bench: Bench) -> None:
    """The answer has the visible messages that the caller doesn't hold, within the limits."""
    turn = await bench.started()
    await bench.send(event("one"), event("two"), timer("later", bench.after(SECOND)))
    turn = await bench.keep(turn, send=(event("own"),))
    expect_equal((delivered(turn), turn.more), (["one", "two", "own"], False), "first answer")
    await bench.send(event("three"))
    turn = await bench.keep(turn, remove=("two",), held=frozenset({"one"}))
    expect_equal(delivered(turn), ["own", "three"], "answer without what is held")
    bench.advance(SECOND)
    held = frozenset({"one", "own", "three"})
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal(delivered(turn), ["later"], "answer after the timer is due")
    held |= {"later"}
    await bench.send(*(event(f"big-{n}", data=THREE_FIFTHS) for n in range(2)))
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal((delivered(turn), turn.more), (["big-0"], True), "answer with large ones")
    held |= {"big-0"}
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal((delivered(turn), turn.more), (["big-1"], False), "answer beside a large held one")
    held |= {"big-1"}
    sent = [f"e-{n:04}" for n in range(MAX_MESSAGES_PER_DELIVERY + 1)]
    await bench.provider.send([event(each) for each in sent[:-1]])
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal((delivered(turn), turn.more), (sent[:-1], False), "answer with exactly 1,000")
    await bench.send(event(sent[-1]))
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal((delivered(turn), turn.more), (sent[:-1], True), "answer with many")
    held |= frozenset(sent[:-1])
    turn = await bench.keep(turn, remove=(), held=held)
    expect_equal((delivered(turn), turn.more), (sent[-1:], False), "answer beside many held ones")


@check("COMMIT-23")
async def a_released_instance_is_ready(bench: Bench) -> None:
    """Without `keep_for` the lease is released, and what is left makes ready at once."""
    turn = await bench.started()
    await bench.send(event("left"))
    answer = await bench.commit(turn)
    expect_equal(
        (answer.lease_until, answer.messages, answer.more), (None, (), False), "the answer"
    )
    turn = await bench.take(token="another")
    expect_equal((turn.attempt, delivered(turn)), (1, ["left"]), "the next lease")
    await bench.commit(turn)
    await bench.expect_nothing_ready("nothing was left")


@check("COMMIT-24")
async def a_commit_clears_the_mark(bench: Bench) -> None:
    """After a commit the instance is not parked."""
    for keep, end in ((None, None), (LEASE, None), (LEASE, AGAIN), (None, FAILED)):
        name = f"parked-{keep}-{end and end.status}"
        turn = await bench.started(name)
        mark = ParkedMark(reason="unregistered", details="no runtime has it")
        await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
        turn = await bench.take(name)
        expect(turn.state.parked is not None, "the mark is gone without a commit")
        draft = bench.draft(turn, end=end, front=(restart(2, name),) if end is AGAIN else ())
        await bench.provider.commit_turn(replace(draft, keep_for=keep))
        ending = f"ends as {end.status}" if end else "ends nothing"
        parked = (await bench.state(name)).parked
        expect_equal(parked, None, f"the mark after a commit that {ending}")
