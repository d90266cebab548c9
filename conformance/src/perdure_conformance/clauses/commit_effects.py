"""COMMIT-9 to COMMIT-27: what a commit brings about, effect by effect, and under contention."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    ExecutionEnd,
    InstanceStatus,
    NewChild,
    ParentLink,
    ParkedMark,
    TurnRelease,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    delivered,
    event,
    ids,
    new_instance,
    restart,
    result,
    timer,
    work,
)

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
FAILED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"why")
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")
INSTANT = timedelta(microseconds=1)


@check("COMMIT-9")
async def messages_are_removed_by_id(bench: Bench) -> None:
    """Messages go by id, delivered or not, visible or not; unknown ids are passed over."""
    turn = await bench.started()
    due = bench.after(SECOND)
    await bench.create("beta")
    await bench.send(event("late"), event("stays"), timer("timer", due), event("same", "beta"))
    await bench.commit(turn, remove=("start", "late", "timer", "same", "unknown"))
    bench.advance(2 * SECOND)
    found = {turn.state.instance: delivered(turn) for turn in await bench.lease()}
    expect_equal(
        found, {"alpha": ["stays"], "beta": ["start", "same"]}, "what is left in the mailboxes"
    )


@check("COMMIT-10")
async def activities_are_added(bench: Bench) -> None:
    """Added activities are in the queue as given, also if the commit cancels or finishes others."""
    turn = await bench.with_activities(work("old"), work("running"))
    running = [each.lease for each in await bench.lease_work() if each.id == "running"]
    added = (
        work("plain", data=b"1"),
        work("tagged", tag="gpu", data=b"2"),
        work("later", visible_at=bench.after(SECOND)),
        work("unknown", name="unknown"),
    )
    await bench.keep(turn, cancel=("old",), finish=tuple(running), add=added)
    found = await bench.lease_work(tags=frozenset({None, "gpu"}))
    expect_equal(
        sorted((each.id, each.name, each.tag, each.data) for each in found),
        [("plain", "work", None, b"1"), ("tagged", "work", "gpu", b"2")],
        "activities of the commit that also cancelled and finished others",
    )
    bench.advance(SECOND)
    expect_equal([each.id for each in await bench.lease_work()], ["later"], "added for later")
    found = await bench.lease_work(names=frozenset({"unknown"}))
    expect_equal([each.id for each in found], ["unknown"], "added under another name")


@check("COMMIT-11")
async def activities_are_added_leased(bench: Bench) -> None:
    """An activity may be added already leased, and is one like others when that runs out."""
    turn = await bench.started()
    draft = bench.draft(
        turn,
        add=(work("held", lease=True), work("finished", lease=True), work("free")),
        activity_token="mine",
        activity_lease_for=20 * SECOND,
        keep_for=LEASE,
    )
    answer = await bench.provider.commit_turn(draft)
    expect_equal(answer.activities_until, bench.after(20 * SECOND), "activities_until")
    expect_equal([each.id for each in await bench.lease_work()], ["free"], "left for others")
    found = {each.id: each for each in await bench.lease_work(token="mine", limit=2)}
    expect_equal(sorted(found), ["finished", "held"], "leases found again under the token")
    held = found["held"]
    expect_equal((held.delivery, held.until), (1, bench.after(20 * SECOND)), "delivery and end")
    turn = await bench.keep(
        turn, remove=(), finish=(found["finished"].lease,), execution=1, expected_event=0
    )
    bench.advance(10 * SECOND)
    gone = await bench.provider.renew_activities([held.lease], lease_for=20 * SECOND)
    expect_equal(gone, frozenset(), "gone at a renewal")
    bench.advance(20 * SECOND - INSTANT)
    found_ids = [each.id for each in await bench.lease_work()]
    expect("held" not in found_ids, "leased although the lease it was added with is live")
    bench.advance(INSTANT)
    found = {each.id: each for each in await bench.lease_work()}
    expect("held" in found, "not leased although the lease it was added with ran out")
    expect_equal(found["held"].delivery, 2, "delivery after the first lease ran out")
    without = await bench.commit(await bench.started("beta"), add=(work("unleased"),))
    expect_equal(without.activities_until, None, "activities_until of unleased ones")


@check("COMMIT-12")
async def activities_are_cancelled(bench: Bench) -> None:
    """Cancelled activities are gone, leased or not, the commit's own included."""
    turn = await bench.with_activities(work("leased"), work("waiting"), work("other"))
    mine = (await bench.lease_work(limit=1))[0]
    await bench.create("beta")
    beta = await bench.take("beta")
    await bench.keep(beta, add=(work("waiting"),))
    turn = await bench.keep(
        turn,
        cancel=(mine.id, "waiting", "unknown", "own", "own leased"),
        add=(work("own"), work("own leased", lease=True), work("new")),
        activity_token="token",
        activity_lease_for=LEASE,
    )
    found = sorted((each.instance, each.id) for each in await bench.lease_work())
    expect_equal(
        found, [("alpha", "new"), ("alpha", "other"), ("beta", "waiting")], "activities left"
    )
    own = await bench.lease_work(token="token", names=frozenset({"nothing"}))
    expect_equal(len(own), 0, "leases of activities that were added and cancelled at once")
    with expect_refusal(ActivityLeaseLost, "the completion of a cancelled activity"):
        await bench.complete(mine)


@check("COMMIT-13")
async def activities_are_finished(bench: Bench) -> None:
    """A commit finishes as many activities as `finish_limit` says, at once."""
    limit = min(bench.provider.finish_limit, 200)
    turn = await bench.with_activities(*(work(f"a-{n}") for n in range(limit + 1)))
    leased = await bench.lease_work(limit=limit)
    turn = await bench.keep(turn, finish=tuple(each.lease for each in leased), events=(b"2",))
    gone = await bench.provider.renew_activities([e.lease for e in leased], lease_for=LEASE)
    expect_equal(len(gone), limit, "leases gone after their activities were finished")
    bench.advance(LEASE)
    expect_equal(len(await bench.lease_work()), 1, "activities left")


@check("COMMIT-14")
async def messages_are_sent(bench: Bench) -> None:
    """A commit sends to any mailbox, now or later; the ids that it removes may be sent again."""
    turn = await bench.started()
    await bench.create("beta")
    due = bench.after(SECOND)
    turn = await bench.keep(
        turn,
        remove=("start",),
        send=(
            event("to-beta", "beta"),
            result("result", "beta"),
            timer("timer", due),
            event("start", data=b"again"),
            event("to-ghost", "ghost"),
            result("void", "ghost"),
            result("stranger", "beta", incarnation="stranger"),
        ),
    )
    expect_equal([m.data for m in turn.messages], [b"again"], "sent to the own mailbox")
    await bench.commit(turn)
    expect_equal(delivered(await bench.take("beta")), ["start", "to-beta", "result"], "to beta")
    bench.advance(SECOND)
    expect_equal(delivered(await bench.take()), ["timer"], "sent for later")
    await bench.create("ghost")
    expect_equal(delivered(await bench.take("ghost")), ["start", "to-ghost"], "to an absent one")


@check("COMMIT-15")
async def messages_are_put_to_the_front(bench: Bench) -> None:
    """Front messages precede all others but the start; later commits' precede earlier ones'."""
    turn = await bench.started()
    await bench.send(event("one"), event("two"), event("three"))
    turn = await bench.keep(turn, front=(event("three"), event("f-2"), event("f-1")))
    expect_equal(delivered(turn), ["three", "f-2", "f-1", "one", "two"], "the first front")
    bench.advance(SECOND)
    turn = await bench.keep(turn, remove=("f-2",), front=(result("g-2"), result("g-1")))
    wanted = ["g-2", "g-1", "three", "f-1", "one", "two"]
    expect_equal(delivered(turn), wanted, "the second front")
    turn = await bench.keep(
        turn,
        remove=("g-1",),
        end=AGAIN,
        front=(restart(2), event("two"), event("carried")),
    )
    wanted = ["start-2", "two", "carried", "three", "f-1", "one"]
    expect_equal(delivered(turn), wanted, "the front of a new execution")
    await bench.commit(turn, remove=(), front=(event("h"),))
    wanted = ["start-2", "h", "two", "carried", "three", "f-1", "one"]
    expect_equal(delivered(await bench.take()), wanted, "a front beside an unread start")


@check("COMMIT-16")
async def children_are_created(bench: Bench) -> None:
    """A commit creates instances, whole."""
    await bench.send(event("waiting", "child-b"))
    turn = await bench.started()
    parent = ParentLink(instance="alpha", incarnation=turn.state.incarnation, execution=1, event=1)
    news = [
        new_instance("child-a", parent=parent, version="1.0.0", data=b"a"),
        new_instance("child-b", parent=parent, engine=1, data=b"b"),
    ]
    bench.advance(SECOND)
    answer = await bench.commit(
        turn, events=(b"1",), create=tuple(NewChild(instance=n) for n in news)
    )
    expect_equal(answer.in_use, frozenset(), "in_use")
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    expect_equal(sorted(turns), ["child-a", "child-b"], "children that are ready")
    for new in news:
        state = turns[new.instance].state
        expect_equal(
            (state.incarnation, state.name, state.version, state.parent, state.created_at),
            (new.incarnation, new.name, new.version, parent, bench.now),
            "fields of a child",
        )
        expect_equal(turns[new.instance].messages[0], new.start, "start of a child")
    expect_equal(delivered(turns["child-b"]), ["start", "waiting"], "messages of child-b")


@check("COMMIT-17")
async def an_id_in_use_is_told(bench: Bench) -> None:
    """Where a child's id is in use the commit stands and the committer is told."""
    ended = await bench.started("ended")
    await bench.commit(ended, end=COMPLETED)
    await bench.create("running")
    same = await bench.create("same")
    before = [await bench.state(name) for name in ("ended", "running", "same")]
    await bench.create()
    turn = await bench.pick("alpha")
    bench.advance(SECOND)

    def child(name: str, message: str | None) -> NewChild:
        return NewChild(
            instance=new_instance(name, incarnation="other", data=b"other"),
            if_exists=None if message is None else result(message),
        )

    draft = bench.draft(
        turn,
        events=(b"1",),
        keep_for=LEASE,
        create=(
            child("ended", "told-ended"),
            child("running", None),
            NewChild(instance=same, if_exists=result("told-same")),
            child("alpha", "told-own"),
            child("fresh", "told-fresh"),
        ),
    )
    answer = await bench.provider.commit_turn(draft)
    expect_equal(answer.in_use, frozenset({"ended", "running", "alpha"}), "in_use")
    expect_equal(sorted(ids(answer.messages)), ["told-ended", "told-own"], "what it was told")
    after = [await bench.state(name) for name in ("ended", "running", "same")]
    expect_equal(after, before, "the instances that had the ids")
    expect_equal((await bench.state("fresh")).incarnation, "other", "the child that was free")
    expect_equal((await bench.state()).last_event, 1, "the commit itself")
    bench.advance(LEASE)
    running = await bench.pick("running")
    expect_equal([m.data for m in running.messages], [b"start"], "mailbox of an id in use")


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
    await bench.provider.send([event(f"e-{n:04}") for n in range(1100)])
    turn = await bench.keep(turn, held=held)
    expect_equal((len(turn.messages), turn.more), (1000, True), "answer with many")
    expect_equal(turn.messages[0].id, "e-0000", "first of the many")
    turn = await bench.keep(turn, held=held)
    expect_equal((len(turn.messages), turn.more), (100, False), "the rest of the many")
    await bench.provider.send(
        [event(f"big-{n}", data=bytes(MAX_BYTES_PER_DELIVERY * 3 // 5)) for n in range(2)]
    )
    turn = await bench.keep(turn, held=held)
    expect_equal((delivered(turn), turn.more), (["big-0"], True), "answer with large ones")


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
    for keep in (None, LEASE):
        name = f"parked-{keep}"
        turn = await bench.started(name)
        mark = ParkedMark(reason="unregistered", details="no runtime has it")
        await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
        turn = await bench.take(name)
        expect(turn.state.parked is not None, "the mark is gone without a commit")
        draft = bench.draft(turn)
        if keep is not None:
            await bench.keep(turn)
        else:
            await bench.provider.commit_turn(draft)
        expect_equal((await bench.state(name)).parked, None, "the mark after a commit")


@check("COMMIT-25")
async def a_cancelled_commit_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a commit is cancelled, all of it happened or nothing."""
    for steps in range(16):
        name = f"i-{steps:02}"
        turn = await bench.with_activities(work("old"), instance=name)
        await bench.send(event("read", name))
        old = (await bench.lease_work())[0]
        task = asyncio.ensure_future(
            bench.commit(
                turn,
                events=(b"2",),
                remove=("read",),
                finish=(old.lease,),
                add=(work("new"),),
                send=(event("sent", f"{name}-child"),),
                create=(NewChild(instance=new_instance(f"{name}-child")),),
            )
        )
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        happened = (await bench.state(name)).last_event == 2
        await expect_whole(bench, name, old.token, happened=happened)


async def expect_whole(bench: Bench, name: str, token: str, *, happened: bool) -> None:
    """Complain unless each effect of the cancelled commit is there, or none."""
    said = f"cancelled commit that {'took' if happened else 'took no'} effect"
    events = len(await bench.history(name))
    expect_equal(events, 2 if happened else 1, f"events after a {said}")
    child = await bench.provider.read_instance(f"{name}-child")
    expect_equal(child is not None, happened, f"child after a {said}")
    found = [each.id for each in await bench.lease_work()]
    expect_equal(found, ["new"] if happened else [], f"activities added by a {said}")
    held = await bench.lease_work(token=token)
    expect_equal([e.id for e in held], [] if happened else ["old"], f"activity left by a {said}")
    bench.advance(LEASE)
    ready = {turn.state.instance: turn for turn in await bench.lease()}
    boxes = {instance: delivered(turn) for instance, turn in ready.items()}
    wanted = {f"{name}-child": ["start", "sent"]} if happened else {name: ["read"]}
    expect_equal(boxes, wanted, f"mailboxes after a {said}")
    await bench.all_well(bench.commit(turn, end=COMPLETED) for turn in ready.values())
    if happened:
        await bench.send(event("over", name))
        await bench.commit(await bench.take(name), end=COMPLETED)


@check("COMMIT-26")
async def concurrent_commits_are_independent(bench: Bench) -> None:
    """Of many concurrent commits the valid ones succeed and the others are refused."""
    names = [f"i-{n:02}" for n in range(24)]
    await bench.all_well(bench.create(name) for name in names)
    turns = sorted(await bench.lease(), key=lambda turn: turn.state.instance)
    wrong = {n for n in range(24) if n % 3 == 1}
    outcomes = await bench.all_of(
        bench.commit(
            turn,
            events=(b"1",),
            expected_event=7 if n in wrong else 0,
            send=(event(f"from-{n}", names[(n + 1) % 24]),),
        )
        for n, turn in enumerate(turns)
    )
    for n, outcome in enumerate(outcomes):
        kind = HistoryConflict if n in wrong else None
        found = type(outcome) if isinstance(outcome, BaseException) else None
        expect_equal(found, kind, f"outcome of commit {n}")
        state = await bench.state(names[n])
        expect_equal(state.last_event, 0 if n in wrong else 1, f"events of instance {n}")
    bench.advance(LEASE)
    for turn in await bench.lease():
        n = names.index(turn.state.instance)
        sender = (n - 1) % 24
        expect_equal(
            f"from-{sender}" in delivered(turn), sender not in wrong, f"message of {sender}"
        )


@check("COMMIT-27")
async def one_of_two_commits_wins(bench: Bench) -> None:
    """Of concurrent commits of one turn exactly one succeeds, and only it has effects."""
    other = await bench.open()
    for round_ in range(6):
        name = f"i-{round_}"
        turn = await bench.started(name)
        drafts = [
            bench.draft(
                turn, id=f"{name}-{n}", events=(b"%d" % n,), add=(work(f"job-{n}"),), keep_for=LEASE
            )
            for n in range(6)
        ]
        objects = (bench.provider, other)
        outcomes = await bench.all_of(
            objects[n % 2].commit_turn(draft) for n, draft in enumerate(drafts)
        )
        won = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        expect_equal(len(won), 1, "commits that succeeded")
        refused = all(isinstance(error, LeaseLost | HistoryConflict) for error in errors)
        expect(refused, f"the others failed with {errors}")
        expect_equal([e.data for e in await bench.history(name)], [b"%d" % won[0]], "the history")
        found = [each.id for each in await bench.lease_work()]
        expect_equal(found, [f"job-{won[0]}"], "activities")
        expect_equal((await bench.state(name)).last_commit, f"{name}-{won[0]}", "last commit")
