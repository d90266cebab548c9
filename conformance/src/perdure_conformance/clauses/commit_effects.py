"""COMMIT-9 to COMMIT-17: messages, activities and children that a commit adds or removes."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import (
    InstanceStatus,
    NewChild,
    ParentLink,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.long_commits import (
    expect_all_added,
    expect_all_at_the_front,
    expect_all_cancelled,
    expect_all_created,
    expect_all_removed,
    expect_all_sent,
)
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    FAILED,
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
    await expect_all_removed(bench)


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
    await expect_none_added_at_an_end(bench)
    await expect_all_added(bench)


async def expect_none_added_at_an_end(bench: Bench) -> None:
    """Complain if a commit adds activities to an execution that it ends."""
    for end in (COMPLETED, AGAIN):
        name = f"{end.status}"
        answer = await bench.commit(
            await bench.started(name),
            add=(work("void"), work("leased", lease=True)),
            activity_token="void",
            activity_lease_for=LEASE,
            end=end,
            front=(restart(2, name),) if end is AGAIN else (),
        )
        expect_equal(answer.activities_until, None, f"activities_until where {name} ends it")
        await bench.expect_no_work(f"activities were added to an execution that ends as {name}")
        held = await bench.lease_work(token="void", limit=1)
        expect_equal([each.id for each in held], [], f"added leased where {name} ends it")
    await bench.commit(await bench.take(f"{AGAIN.status}"), end=COMPLETED)


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
    await expect_cancelled_when_leased_again(bench)
    await expect_all_cancelled(bench)


async def expect_cancelled_when_leased_again(bench: Bench) -> None:
    """Complain unless activities on their second delivery are cancelled and finished."""
    turn = await bench.with_activities(work("cancelled"), work("finished"), instance="again")
    await bench.lease_work()
    bench.advance(LEASE)
    second = {each.id: each for each in await bench.lease_work() if each.instance == "again"}
    turn = await bench.keep(turn, cancel=("cancelled",), finish=(second["finished"].lease,))
    bench.advance(LEASE)
    left = [each.id for each in await bench.lease_work() if each.instance == "again"]
    expect_equal(left, [], "activities left that were on their second delivery")
    await bench.commit(turn, end=COMPLETED)


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
    await expect_one_id_for_several(bench)
    await expect_all_sent(bench)


async def expect_one_id_for_several(bench: Bench) -> None:
    """Complain unless messages of one id reach each mailbox, also from a commit that ends the instance."""
    for name in ("left", "right"):
        await bench.commit(await bench.started(name))
    for end in (None, AGAIN, COMPLETED):
        turn = await bench.started(f"sender-{end and end.status}")
        name = turn.state.instance
        messages = [event("same", target, data=target.encode()) for target in ("left", "right")]
        doubled = [event("same", target, data=b"second") for target in ("left", "right")]
        if end is None:
            messages.append(event("same", name, data=name.encode()))
        front = (restart(2, name),) if end is AGAIN else ()
        await bench.commit(turn, send=(*messages, *doubled), end=end, front=front)
        turns = {each.state.instance: each for each in await bench.lease()}
        for message in messages:
            found = turns.get(message.instance)
            expect_equal(
                found and found.messages, (message,), f"sent to {message.instance} by {name}"
            )
        await bench.all_well(bench.commit(each) for each in turns.values())


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
    turn = await bench.take()
    expect_equal(delivered(turn), wanted, "a front beside an unread start")
    await bench.commit(turn, end=COMPLETED)
    await expect_front_in_place_of_others(bench)
    await expect_no_void_front(bench)
    await expect_all_at_the_front(bench)


async def expect_no_void_front(bench: Bench) -> None:
    """A message to the front that is void takes no other's place."""
    turn = await bench.started("void")
    void = result("kept", "void", execution=7)
    turn = await bench.keep(turn, send=(event("kept", "void"),), front=(void,))
    expect_equal(delivered(turn), ["kept"], "beside a void front of the same id")


async def expect_front_in_place_of_others(bench: Bench) -> None:
    """Complain unless a front message has its own payload, once, in place of any other of its id."""
    turn = await bench.started("front")
    await bench.send(event("held", "front", data=b"held"), event("usual", "front"))
    turn = await bench.keep(
        turn,
        send=(event("sent", "front", data=b"sent"),),
        front=(
            event("sent", "front", data=b"front"),
            event("twice", "front", data=b"first"),
            event("held", "front", data=b"front"),
            event("twice", "front", data=b"front"),
            result("void", "front", incarnation="another"),
            result("void too", "front", execution=2),
        ),
    )
    found = [(message.id, message.data) for message in turn.messages]
    wanted = [(name, b"front") for name in ("sent", "held", "twice")]
    expect_equal(found, [*wanted, ("usual", b"")], "front messages in place of others")
    await bench.commit(turn, end=COMPLETED)


@check("COMMIT-16")
async def children_are_created(bench: Bench) -> None:
    """A commit creates instances, whole."""
    await bench.send(event("waiting", "child-b"))
    turn = await bench.started()
    parent = ParentLink(instance="alpha", incarnation=turn.state.incarnation, execution=1, event=1)
    news = [
        new_instance("child-a", parent=parent, version="1.0.0", data=b"a"),
        new_instance("child-b", parent=parent, engine=2, name="flow", data=b"b"),
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
            (state.incarnation, state.name, state.version, state.engine, state.parent),
            (new.incarnation, new.name, new.version, new.engine, parent),
            "fields of a child",
        )
        expect_equal(
            (state.created_at, state.updated_at, state.last_commit, state.status, state.last_event),
            (bench.now, bench.now, None, InstanceStatus.RUNNING, 0),
            "created, updated, last commit, status and last event of a child",
        )
        expect_equal(turns[new.instance].messages[0], new.start, "start of a child")
    expect_equal(delivered(turns["child-b"]), ["start", "waiting"], "messages of child-b")
    await expect_children_of_an_end(bench)
    await expect_all_created(bench)


async def expect_children_of_an_end(bench: Bench) -> None:
    """Complain unless each commit creates its child and sends to it, also one that ends the execution."""
    for end in (None, AGAIN, COMPLETED, FAILED):
        name = f"parent-{end and end.status}"
        turn = await bench.started(name)
        child = new_instance(f"child-of-{name}")
        sent = (result("result", child.instance), event("event", child.instance))
        front = (restart(2, name),) if end is AGAIN else ()
        await bench.commit(
            turn, create=(NewChild(instance=child),), send=sent, end=end, front=front
        )
        turns = {each.state.instance: each for each in await bench.lease()}
        found = turns.get(child.instance)
        wanted = (child.start, *sent)
        expect_equal(found and found.messages, wanted, f"messages of a child of {name}")
        await bench.all_well(bench.commit(each, end=COMPLETED) for each in turns.values())


@check("COMMIT-17")
async def an_id_in_use_is_told(bench: Bench) -> None:
    """If a child's id is in use, the commit stands and the committer is notified."""
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
    expect_equal(sorted(ids(answer.messages)), ["told-ended", "told-own"], "the notifications")
    after = [await bench.state(name) for name in ("ended", "running", "same")]
    expect_equal(after, before, "the instances that had the ids")
    expect_equal((await bench.state("fresh")).incarnation, "other", "the child that was free")
    expect_equal((await bench.state()).last_event, 1, "the commit itself")
    bench.advance(LEASE)
    running = await bench.pick("running")
    expect_equal([m.data for m in running.messages], [b"start"], "mailbox of an id in use")
    await expect_first_of_one_id(bench)


async def expect_first_of_one_id(bench: Bench) -> None:
    """Complain unless of children with one id the first is created, and the others find it in use."""
    await bench.create("other")
    turn = await bench.pick("other")
    children = [
        NewChild(
            instance=new_instance(name, incarnation=incarnation, data=incarnation.encode()),
            if_exists=result(f"{name}-{incarnation}", "other"),
        )
        for name, incarnation in (
            ("twin", "first"),
            ("twin", "second"),
            ("twin", "first"),
            ("twin", "third"),
            ("novel", "fourth"),
            ("novel", "fifth"),
        )
    ]
    commit = bench.draft(turn, create=tuple(children), keep_for=LEASE)
    for _ in range(2):
        answer = await bench.provider.commit_turn(commit)
        expect_equal(answer.in_use, frozenset({"twin", "novel"}), "in_use of ids given twice")
        told = ["novel-fifth", "twin-second", "twin-third"]
        expect_equal(sorted(ids(answer.messages)), told, "messages about ids given twice")
    expect_equal((await bench.state("twin")).incarnation, "first", "the child of an id given twice")
    twin = await bench.pick("twin")
    expect_equal([each.data for each in twin.messages], [b"first"], "starts of an id given twice")
