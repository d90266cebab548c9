"""COMMIT-1 to COMMIT-8: the preconditions of a commit, its atomicity, its repeat."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ExecutionEnd,
    InstanceState,
    NewChild,
    StoredEvent,
    TurnCommit,
    TurnRelease,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.long_commits import expect_last_lease_looked_at
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    WORK,
    delivered,
    event,
    ids,
    new_instance,
    restart,
    result,
    work,
)


@check("COMMIT-1")
async def events_are_appended(bench: Bench) -> None:
    """Events follow the expected number, and the plain fields follow the commit."""
    turn = await bench.started()
    created = bench.now
    bench.advance(SECOND)
    turn = await bench.keep(turn, id="c-1", events=(b"one", b"two"))
    bench.advance(SECOND)
    await bench.commit(turn, id="c-2", events=(b"three",))
    found = [(each.number, each.data) for each in await bench.history()]
    expect_equal(found, [(1, b"one"), (2, b"two"), (3, b"three")], "the history")
    state = await bench.state()
    expect_equal(
        (state.last_event, state.last_commit, state.created_at, state.updated_at, state.execution),
        (3, "c-2", created, bench.now, 1),
        "last event, last commit, created, updated, execution",
    )
    await bench.send(event("more"))
    await bench.commit(await bench.take(), id="c-3")
    state = await bench.state()
    expect_equal((state.last_event, state.last_commit), (3, "c-3"), "after a commit of no event")


@check("COMMIT-2")
async def a_commit_needs_its_lease(bench: Bench) -> None:
    """Without a lease that stands under its token a commit is refused; an expired one stands."""
    await bench.create("unleased")
    turn = await bench.take("unleased")
    with expect_refusal(LeaseLost, "a commit under a token that leased nothing"):
        await bench.commit(turn, token="a stranger's")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))
    with expect_refusal(LeaseLost, "a commit under a released lease"):
        await bench.commit(turn)
    turn = await bench.take("unleased")
    bench.advance(LEASE)
    second = await bench.take("unleased")
    with expect_refusal(LeaseLost, "a commit under a lease that another took over"):
        await bench.commit(turn, events=(b"stale",))
    await bench.commit(second, events=(b"good",))
    with expect_refusal(LeaseLost, "a second commit after one that released"):
        await bench.commit(second, expected_event=1)
    absent = replace(turn.state, instance="absent")
    with expect_refusal(LeaseLost, "a commit of an instance that does not exist"):
        await bench.commit(replace(turn, state=absent))
    expect_equal([e.data for e in await bench.history("unleased")], [b"good"], "the history")
    turn = await bench.started("stalled")
    bench.advance(LEASE)
    turn = await bench.keep(turn, events=(b"1",))
    bench.advance(2 * LEASE)
    await bench.commit(turn, events=(b"2",))
    found = [e.data for e in await bench.history("stalled")]
    expect_equal(found, [b"1", b"2"], "the history after commits under expired leases")


@check("COMMIT-3")
async def a_commit_needs_its_incarnation(bench: Bench) -> None:
    """A commit for another incarnation is refused."""
    turn = await bench.started()
    with expect_refusal(LeaseLost, "a commit for another incarnation"):
        await bench.commit(turn, incarnation="another", events=(b"stale",))
    expect_equal(await bench.history(), [], "the history")
    await bench.commit(turn)


@check("COMMIT-4")
async def a_commit_needs_its_history(bench: Bench) -> None:
    """A commit that expects another history is refused, and keeps its lease."""
    turn = await bench.started()
    turn = await bench.keep(turn, events=(b"1", b"2"))
    for execution, number in ((1, 1), (1, 3), (1, 0), (2, 2), (2, 0)):
        with expect_refusal(HistoryConflict, f"a commit at {execution}, {number}") as refusal:
            await bench.commit(turn, execution=execution, expected_event=number, events=(b"x",))
        error = refusal.error
        expect_equal(
            (error.instance, error.expected, error.found),
            ("alpha", (execution, number), (1, 2)),
            "what the error names",
        )
    expect_equal(len(await bench.history()), 2, "events after refused commits")
    turn = await bench.keep(turn, events=(b"3",), end=AGAIN, front=(restart(2),))
    with expect_refusal(HistoryConflict, "a commit of the execution before"):
        await bench.commit(turn, execution=1, expected_event=3)
    await bench.commit(turn)


@check("COMMIT-5")
async def a_commit_needs_the_leases_it_finishes(bench: Bench) -> None:
    """Every lease to finish must stand, live or expired; the error names those that are gone."""
    names = ("good", "expired", "released", "cancelled", "done", "free", "other", "kept")
    slow = frozenset({"slow"})
    turn = await bench.with_activities(*map(work, names), work("taken", name="slow"))
    leases: dict[str, ActivityLease] = {}
    for each in await bench.lease_work(token="mine", lease_for=10 * SECOND, names=WORK | slow):
        leases[each.id] = each.lease
        if each.id == "done":
            await bench.complete(each)
    for name in ("released", "free"):
        await bench.provider.release_activity(ActivityRelease(lease=leases[name]))
    again = await bench.lease_work(token="second", limit=1)
    taken = again[0].id
    alive = [leases[name] for name in ("good", "cancelled", "other", "kept")]
    expect_equal(await bench.provider.renew_activities(alive, lease_for=LEASE), frozenset(), "gone")
    turn = await bench.keep(turn, remove=("result-done",), cancel=("cancelled",))
    bench.advance(10 * SECOND)
    other = ActivityLease(instance="alpha", activity="other", token="not mine")
    never = ActivityLease(instance="alpha", activity="never", token="mine")
    late = await bench.lease_work(token="third", names=slow)
    expect_equal([each.id for each in late], ["taken"], "what another took after its end")
    lost = [leases[n] for n in ("taken", "released", "cancelled", "done", "free")]
    lost += [other, never]
    for one in lost:
        with expect_refusal(ActivityLeaseLost, f"a commit that finishes {one.activity}") as why:
            await bench.commit(turn, finish=(leases["good"], one), events=(b"x",))
        expect_equal(why.error.activities, (one.activity,), "the activities that are named")
    with expect_refusal(ActivityLeaseLost, "a commit that finishes all") as why:
        await bench.commit(turn, finish=(leases["good"], *lost, leases["kept"]))
    expect_equal(sorted(why.error.activities), sorted(x.activity for x in lost), "activities named")
    expect(taken in ("released", "free"), f"{taken} was leased though it was not released")
    finish = (leases["good"], leases["kept"], leases["expired"])
    await bench.commit(turn, finish=finish, events=(b"1",))
    left = {each.id for each in await bench.lease_work()}
    expect("expired" not in left, "an activity that was finished under an expired lease is left")
    with expect_refusal(ActivityLeaseLost, "a completion of a finished activity"):
        await bench.provider.complete_activity(
            ActivityCompletion(lease=leases["good"], message=result("late"))
        )
    await expect_last_lease_looked_at(bench)


@check("COMMIT-6")
async def preconditions_have_an_order(bench: Bench) -> None:
    """First a repeat, then `LeaseLost`, then `HistoryConflict`, then `ActivityLeaseLost`."""
    turn = await bench.started()
    never = ActivityLease(instance="alpha", activity="never", token="mine")
    commit = bench.draft(turn, expected_event=5, finish=(never,))
    with expect_refusal(LeaseLost, "a commit in which everything is wrong"):
        await bench.provider.commit_turn(replace(commit, token="another"))
    with expect_refusal(HistoryConflict, "a commit where only the lease is right"):
        await bench.provider.commit_turn(commit)
    with expect_refusal(ActivityLeaseLost, "a commit where only the activity is wrong"):
        await bench.provider.commit_turn(replace(commit, expected_event=0))
    good = replace(commit, expected_event=0, finish=())
    await bench.provider.commit_turn(good)
    await bench.provider.commit_turn(replace(good, token="another", expected_event=5))
    with expect_refusal(LeaseLost, "another commit under the released lease"):
        await bench.provider.commit_turn(replace(good, id="another", expected_event=5))


async def full_commit(bench: Bench, instance: str) -> TurnCommit:
    """A commit of a new instance that does all that a commit can do, except ending the execution."""
    turn = await bench.with_activities(
        work("finished", lease=False), work("cancelled"), work("left"), instance=instance
    )
    await bench.send(event("read", instance), event("unread", instance))
    leased = {each.id: each for each in await bench.lease_work(token="mine")}
    child = new_instance(f"{instance}-child")
    taken = new_instance("taken", incarnation=f"{instance}'s")
    return bench.draft(
        turn,
        events=(b"2", b"3"),
        remove=("read",),
        finish=(leased["finished"].lease,),
        cancel=("cancelled",),
        add=(work("added"), work("held", lease=True)),
        activity_token="mine too",
        activity_lease_for=LEASE,
        send=(event("sent", instance), event(f"from-{instance}", "neighbour")),
        front=(result("front", instance),),
        create=(
            NewChild(instance=child),
            NewChild(instance=taken, if_exists=result("in-use", instance)),
        ),
        version="2.0.0",
        engine=1,
    )


@check("COMMIT-7")
async def a_refused_commit_changes_nothing(bench: Bench) -> None:
    """If any precondition fails, the commit changes nothing."""
    await bench.create("neighbour")
    await bench.create("taken")
    for turn in await bench.lease():
        await bench.commit(turn)
    for refused_as in (LeaseLost, HistoryConflict, ActivityLeaseLost):
        for end in (None, AGAIN, COMPLETED):
            await expect_untouched(bench, refused_as, end)


async def expect_untouched(
    bench: Bench, refused_as: type[Exception], end: ExecutionEnd | None
) -> None:
    """Refuse a commit that does everything, and look at all that it could have changed."""
    instance = f"{refused_as.__name__}-{end and end.status}"
    good = await full_commit(bench, instance)
    bad = replace(good, id="refused", keep_for=LEASE, end=end)
    if end is AGAIN:
        bad = replace(bad, front=(restart(2, instance), *bad.front))
    if refused_as is LeaseLost:
        bad = replace(bad, token="another")
    elif refused_as is HistoryConflict:
        bad = replace(bad, expected_event=0)
    else:
        never = ActivityLease(instance=instance, activity="never", token="mine")
        bad = replace(bad, finish=(*bad.finish, never))
    before = await bench.state(instance), await bench.history(instance)
    bench.advance(SECOND)
    ending = f"ends as {end.status}" if end else "ends nothing"
    with expect_refusal(refused_as, f"a commit that does everything and {ending}"):
        await bench.provider.commit_turn(bad)
    await expect_as_before(bench, good, before, f"a refused commit that {ending}")
    await bench.provider.commit_turn(replace(good, end=COMPLETED))
    for turn in await bench.lease():
        await bench.commit(turn)


async def expect_as_before(
    bench: Bench, good: TurnCommit, before: tuple[InstanceState, list[StoredEvent]], after: str
) -> None:
    """Complain unless nothing of what `full_commit` prepared has changed.

    It looks at the mailbox by a commit that has no other effect.
    """
    instance = good.instance
    found = await bench.state(instance), await bench.history(instance)
    expect_equal(found, before, f"state and history after {after}")
    expect_equal(await bench.provider.read_instance(f"{instance}-child"), None, "its child")
    await bench.expect_nothing_ready(f"{after} sent to a neighbour and created a child")
    await bench.expect_no_work(f"{after} added and cancelled activities")
    tokens = [
        ActivityLease(instance=instance, activity=a, token="mine")
        for a in ("finished", "cancelled", "left")
    ]
    gone = await bench.provider.renew_activities(tokens, lease_for=LEASE)
    expect_equal(gone, frozenset(), f"activity leases gone after {after}")
    probe = replace(
        good,
        id=bench.fresh("probe"),
        events=(),
        remove=(),
        finish=(),
        cancel=(),
        add=(),
        send=(),
        front=(),
        create=(),
        version=None,
        keep_for=LEASE,
    )
    answer = await bench.provider.commit_turn(probe)
    expect_equal(ids(answer.messages), ["read", "unread"], f"the mailbox after {after}")


@check("COMMIT-8")
async def a_repeated_commit_is_answered_again(bench: Bench) -> None:
    """A repeat of the last commit has no effect and gives the same answer."""
    await bench.create("neighbour")
    await bench.create("taken")
    for turn in await bench.lease():
        await bench.commit(turn)
    for keep in (None, LEASE):
        good = await full_commit(bench, f"repeated-{keep is not None}")
        await expect_repeatable(bench, replace(good, keep_for=keep))
    turn = await bench.started("ended")
    await bench.send(event("unread", "ended"))
    last = bench.draft(turn, events=(b"1",), end=COMPLETED)
    await bench.provider.commit_turn(last)
    before = await bench.state("ended")
    bench.advance(SECOND)
    answer = await bench.provider.commit_turn(last)
    expect_equal((answer.lease_until, answer.messages), (None, ()), "the repeated end's answer")
    expect_equal(await bench.state("ended"), before, "the ended instance")
    await bench.expect_nothing_ready("the end was repeated")
    await expect_answered_by_what_it_kept(bench)
    await expect_no_repeat_elsewhere(bench)


async def expect_repeatable(bench: Bench, good: TurnCommit) -> None:
    """Repeat a commit that does everything: at once, and after its lease was taken over."""
    instance = good.instance
    first = await bench.provider.commit_turn(good)
    before = await bench.state(instance), await bench.history(instance)
    bench.advance(SECOND)
    again = await bench.provider.commit_turn(good)
    expect_equal(again, first, "the answer of a repeat")
    found = await bench.state(instance), await bench.history(instance)
    expect_equal(found, before, "state and history after a repeat")
    work_found = sorted(each.id for each in await bench.lease_work())
    expect_equal(work_found, ["added"], "activities that can be leased after a repeat")
    others = await bench.lease()
    found_ready = {turn.state.instance: delivered(turn) for turn in others}
    ready = {"neighbour": [f"from-{instance}"], f"{instance}-child": ["start"]}
    mailbox = ["front", "unread", "sent", "in-use"]
    ready |= {} if good.keep_for else {instance: mailbox}
    expect_equal(
        {name: sorted(box) for name, box in found_ready.items()},
        {name: sorted(box) for name, box in ready.items()},
        "mailboxes after a repeat",
    )
    bench.advance(LEASE)
    late = await bench.provider.commit_turn(good)
    expect_equal(late, first, "the answer of a repeat when the lease has expired")
    holder = await bench.pick(instance)
    late = await bench.provider.commit_turn(good)
    expect_equal(
        (late.in_use, late.activities_until, late.lease_until, late.messages),
        (first.in_use, first.activities_until, None, ()),
        "the answer of a repeat after the lease was taken over",
    )
    await bench.expect_nothing_ready("a repeat came while another holds the lease")
    await bench.commit(holder, end=COMPLETED)
    with expect_refusal(LeaseLost, "a repeat of a commit that is not the last"):
        await bench.provider.commit_turn(good)
    bench.advance(LEASE)
    for turn in await bench.lease():
        await bench.commit(turn)


async def expect_answered_by_what_it_kept(bench: Bench) -> None:
    """Complain unless a repeat tells the lease that the commit kept, as it is now, and no other one."""
    turn = await bench.started("kept")
    await bench.send(*(event(name, "kept") for name in ("read", "one", "two")))
    commit = bench.draft(turn, remove=("start",), keep_for=LEASE, held=frozenset({"one"}))
    first = await bench.provider.commit_turn(commit)
    expect_equal(ids(first.messages), ["read", "two"], "messages that are not held")
    bench.advance(SECOND)
    await bench.send(event("three", "kept"))
    await bench.provider.renew_turns([held_by(turn)], lease_for=2 * LEASE)
    again = await bench.provider.commit_turn(commit)
    wanted = (bench.after(2 * LEASE), ["read", "two", "three"], False)
    found = (again.lease_until, ids(again.messages), again.more)
    expect_equal(found, wanted, "lease_until, messages and more of a repeat after a renewal")
    for fields in ({"incarnation": "another"}, {"instance": "absent"}):
        with expect_refusal(LeaseLost, f"a repeat with {fields}"):
            await bench.provider.commit_turn(replace(commit, **fields))
    released = bench.draft(turn, remove=("read",))
    answer = await bench.provider.commit_turn(released)
    turns = await bench.lease(token=turn.token)
    expect_equal([each.state.instance for each in turns], ["kept"], "leased again by its token")
    again = await bench.provider.commit_turn(released)
    expect_equal(again, answer, "a repeat without keep_for, when its token has leased again")
    await bench.commit(turns[0], end=COMPLETED)


async def expect_no_repeat_elsewhere(bench: Bench) -> None:
    """Complain if a commit is taken for the repeat of another instance's, or of an earlier one."""
    for name in ("this", "that"):
        await bench.commit(await bench.started(name), id="same", events=(name.encode(),))
        expect_equal(len(await bench.history(name)), 1, f"events of a commit of {name}")
    await bench.send(event("more", "this"), event("more", "that"))
    for turn in await bench.lease():
        name = turn.state.instance
        turn = await bench.keep(turn, id="other", events=(b"2",))
        await bench.commit(turn, id="same", events=(b"3",))
        expect_equal(len(await bench.history(name)), 3, f"events where {name} has an id again")
