"""ACT: activity leases and completions."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    ALLOWED_SKEW,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ExecutionEnd,
    InstanceStatus,
    LeasedActivity,
    ParkedMark,
    ParkedState,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.lab import Lab
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    WORK,
    delivered,
    restart,
    result,
    work,
)

HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)


@check("ACT-1")
async def activities_are_leased(lab: Lab) -> None:
    """Available activities are leased with all that a worker needs."""
    turn = await lab.started()
    turn = await lab.keep(turn, end=AGAIN, front=(restart(2),))
    lab.advance(SECOND)
    added = lab.now
    await lab.keep(turn, add=(work("job", data=b"input", tag="gpu"),))
    lab.advance(SECOND)
    found = (await lab.lease_work(token="mine", tags=frozenset({"gpu"})))[0]
    expect_equal(
        (found.instance, found.incarnation, found.execution, found.id, found.name, found.tag),
        ("alpha", turn.state.incarnation, 2, "job", "work", "gpu"),
        "whose activity it is, and which",
    )
    expect_equal(
        (found.data, found.token, found.until, found.delivery, found.added_at, found.served),
        (b"input", "mine", lab.after(LEASE), 1, added, True),
        "data, token, end, delivery, added_at, served",
    )


@check("ACT-2")
async def an_activity_lease_is_exclusive_and_ends(lab: Lab) -> None:
    """While its lease is live an activity is one worker's; then it can be another's."""
    await lab.with_activities(work("job"))
    await lab.take_work()
    other = await lab.open()
    lab.advance(LEASE - INSTANT)
    await lab.expect_no_work("a microsecond before the end of the lease")
    found = await lab.lease_work(provider=other)
    expect_equal(len(found), 0, "leases through another object")
    lab.advance(INSTANT)
    expect_equal((await lab.take_work()).delivery, 2, "delivery after the lease ran out")
    lab.advance(LEASE)
    expect_equal((await lab.take_work()).delivery, 3, "delivery after the second ran out")


@check("ACT-3")
async def names_and_tags_are_matched(lab: Lab) -> None:
    """Only activities of the names and tags asked for are leased, up to the limit."""
    await lab.with_activities(
        work("untagged"),
        work("gpu", tag="gpu"),
        work("cpu", tag="cpu"),
        work("other", name="other"),
        work("other gpu", name="other", tag="gpu"),
        work("second"),
    )
    found = [each.id for each in await lab.lease_work(limit=1)]
    expect_equal(len(found), 1, "leases at a limit of one")
    found += [each.id for each in await lab.lease_work(limit=5)]
    expect_equal(found, ["untagged", "second"], "untagged work, in two calls")
    found = [each.id for each in await lab.lease_work(tags=frozenset({"gpu", None}))]
    expect_equal(found, ["gpu"], "work of tag gpu")
    both = frozenset({"work", "other"})
    found = [each.id for each in await lab.lease_work(names=both, tags=frozenset({"cpu"}))]
    expect_equal(found, ["cpu"], "work of tag cpu")
    found = [each.id for each in await lab.lease_work(names=frozenset({"other"}))]
    expect_equal(found, ["other"], "other work without a tag")
    expect_equal(len(await lab.lease_work(names=frozenset())), 0, "work of who serves nothing")


@check("ACT-4")
async def activities_wait_for_their_time(lab: Lab) -> None:
    """An activity is leased from its `visible_at` on, and not before."""
    await lab.with_activities(work("later", visible_at=lab.after(SECOND)), work("now"))
    expect_equal([e.id for e in await lab.lease_work()], ["now"], "leased before its time")
    lab.advance(SECOND - INSTANT)
    await lab.expect_no_work("a microsecond before its time")
    lab.advance(INSTANT)
    expect_equal((await lab.take_work("later")).delivery, 1, "delivery at its time")


@check("ACT-5")
async def no_activity_is_overtaken_for_ever(lab: Lab) -> None:
    """An activity that waits is leased after a while, however much is added behind it."""
    middle = await lab.with_activities(work("m-waiting"), instance="middle")
    await lab.commit(middle)
    turns = {name: await lab.started(name) for name in ("a", "z")}
    for name, turn in turns.items():
        turns[name] = await lab.keep(turn, add=tuple(work(f"{name}-{n}") for n in range(3)))
    for round_ in range(60):
        lab.advance(timedelta(milliseconds=1))
        leased = (await lab.lease_work(limit=1))[0]
        if leased.id == "m-waiting":
            return
        name = leased.instance
        turns[name] = await lab.keep(
            turns[name], finish=(leased.lease,), add=(work(f"{name}-again-{round_}"),)
        )
    expect(False, "an activity waited while 60 younger ones were leased")


@check("ACT-6")
async def a_repeated_lease_finds_its_own_work(lab: Lab) -> None:
    """A repeat under the same token gives the leases it holds, uncounted."""
    await lab.with_activities(*(work(f"a-{n}") for n in range(4)))
    first = await lab.lease_work(token="mine", limit=2)
    lab.advance(SECOND)
    again = await lab.lease_work(token="mine", limit=2)
    expect_equal(
        sorted((e.id, e.delivery, e.until) for e in again),
        sorted((e.id, e.delivery, e.until) for e in first),
        "leases of the repeat",
    )
    more = await lab.lease_work(token="mine", limit=3)
    expect_equal({e.id for e in more[:2]}, {e.id for e in first}, "the leases held come first")
    expect_equal(len(more), 3, "leases at a limit of three")
    strange = await lab.lease_work(token="mine", limit=2, names=frozenset({"stranger"}))
    expect_equal([e.served for e in strange], [False, False], "served, to one who serves others")
    await lab.complete(first[0])
    left = {e.id for e in await lab.lease_work(token="mine")}
    expect(first[0].id not in left, "a completed activity was found again")


@check("ACT-7")
async def a_completion_tells_the_instance(lab: Lab) -> None:
    """A completion removes the activity and puts its message, whoever leases the instance."""
    turn = await lab.with_activities(work("job"), work("second"))
    leased = {each.id: each for each in await lab.lease_work()}
    await lab.complete(leased["job"], message="done")
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), ["done"], "message of a completion, while the turn is leased")
    await lab.commit(turn)
    told = result("second-done", data=b"payload")
    await lab.provider.complete_activity(
        ActivityCompletion(lease=leased["second"].lease, message=told)
    )
    turn = await lab.take()
    expect_equal(turn.messages, (told,), "message of a completion, while nobody runs it")
    lab.advance(LEASE)
    await lab.expect_no_work("both were completed")


@check("ACT-8")
async def a_lost_lease_completes_nothing(lab: Lab) -> None:
    """Without its lease a completion is refused and nothing changes; an expired one stands."""
    turn = await lab.with_activities(work("late"))
    late = await lab.take_work("late")
    lab.advance(LEASE - SECOND)
    turn = await lab.keep(turn, add=(work("job"),))
    lab.advance(SECOND)
    await lab.complete(late, message="late")
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), ["late"], "message of a completion under an expired lease")
    first = await lab.take_work()
    stranger = ActivityLease(instance="alpha", activity="job", token="a stranger's")
    told = result("result-job")
    with expect_refusal(ActivityLeaseLost, "a completion under another token") as refusal:
        await lab.provider.complete_activity(ActivityCompletion(lease=stranger, message=told))
    expect_equal(
        (refusal.error.instance, refusal.error.activities), ("alpha", ("job",)), "what it names"
    )
    lab.advance(LEASE - SECOND)
    turn = await lab.keep(turn)
    lab.advance(SECOND)
    second = await lab.take_work()
    with expect_refusal(ActivityLeaseLost, "a completion after another took over"):
        await lab.complete(first, message="too late")
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), [], "messages of refused completions")
    await lab.provider.release_activity(ActivityRelease(lease=second.lease))
    with expect_refusal(ActivityLeaseLost, "a completion after a release"):
        await lab.complete(second)
    third = await lab.take_work()
    await lab.complete(third, message="good")
    for again in (third, first):
        with expect_refusal(ActivityLeaseLost, "a completion of what is completed"):
            await lab.complete(again, message="twice")
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), ["good"], "messages of all completions")


@check("ACT-9")
async def a_void_activity_completes_nothing(lab: Lab) -> None:
    """The completion of a void activity is refused and nothing changes."""
    turn = await lab.with_activities(work("job"))
    old = await lab.take_work()
    turn = await lab.keep(turn, end=AGAIN, front=(restart(2),))
    told = result("void", execution=None)
    with expect_refusal(ActivityLeaseLost, "a completion for an earlier execution"):
        await lab.provider.complete_activity(ActivityCompletion(lease=old.lease, message=told))
    turn = await lab.keep(turn, add=(work("next"),))
    expect_equal(delivered(turn), [], "messages after a refused completion")
    leased = await lab.take_work("next")
    before = await lab.state()
    await lab.commit(turn, end=COMPLETED)
    with expect_refusal(ActivityLeaseLost, "a completion for an ended instance"):
        await lab.complete(leased)
    expect_equal(before.status, InstanceStatus.RUNNING, "status before the end")
    await lab.expect_nothing_ready("the instance has ended")


@check("ACT-10")
async def a_cancelled_activity_is_gone(lab: Lab) -> None:
    """A cancelled activity cannot be completed, and its lease is gone at the next renewal."""
    turn = await lab.with_activities(work("job"), work("other"))
    leased = {each.id: each for each in await lab.lease_work()}
    turn = await lab.keep(turn, cancel=("job",))
    gone = await lab.provider.renew_activities(
        [each.lease for each in leased.values()], lease_for=LEASE
    )
    expect_equal(gone, frozenset({leased["job"].lease}), "gone after a cancellation")
    with expect_refusal(ActivityLeaseLost, "the completion of a cancelled activity"):
        await lab.complete(leased["job"])
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), [], "messages of a cancelled activity")
    lab.advance(2 * LEASE)
    expect_equal([e.id for e in await lab.lease_work()], ["other"], "activities left")


@check("ACT-11")
async def activities_are_given_back(lab: Lab) -> None:
    """A released activity is leased again at once or after the delay, counted or not."""
    await lab.with_activities(work("job"))
    leased = await lab.take_work()
    await lab.provider.release_activity(ActivityRelease(lease=leased.lease, counted=False))
    leased = await lab.take_work()
    expect_equal(leased.delivery, 1, "delivery after an uncounted release")
    await lab.provider.release_activity(ActivityRelease(lease=leased.lease))
    leased = await lab.take_work()
    expect_equal(leased.delivery, 2, "delivery after a counted release")
    minute = timedelta(minutes=1)
    release = ActivityRelease(lease=leased.lease, delay=minute, counted=False)
    await lab.provider.release_activity(release)
    lab.advance(minute - INSTANT)
    await lab.expect_no_work("a microsecond before the delay is over")
    lab.advance(INSTANT)
    expect_equal((await lab.take_work()).delivery, 2, "delivery after a delay")


@check("ACT-12")
async def a_release_marks_the_instance(lab: Lab) -> None:
    """A parked mark of a released activity is its instance's, with the instant of the first."""
    turn = await lab.with_activities(work("job"))
    first = lab.now
    for details in ("first", "second"):
        leased = await lab.take_work()
        mark = ParkedMark(reason="unregistered", details=details)
        await lab.provider.release_activity(ActivityRelease(lease=leased.lease, parked=mark))
        expected = ParkedState(reason="unregistered", details=details, since=first)
        expect_equal((await lab.state()).parked, expected, "the mark")
        lab.advance(SECOND)
    leased = await lab.take_work()
    mark = ParkedMark(reason="undecodable", details="third")
    await lab.provider.release_activity(ActivityRelease(lease=leased.lease, parked=mark))
    expected = ParkedState(reason="undecodable", details="third", since=lab.now)
    expect_equal((await lab.state()).parked, expected, "a mark for another reason")
    leased = await lab.take_work()
    await lab.provider.release_activity(ActivityRelease(lease=leased.lease))
    expect((await lab.state()).parked is not None, "a release without a mark cleared it")
    await lab.commit(turn)
    expect_equal((await lab.state()).parked, None, "the mark after a commit")


@check("ACT-13")
async def a_late_release_of_an_activity_counts_until_another_holds_it(lab: Lab) -> None:
    """A release of an expired lease has its full effect; of one that is gone it has none."""
    turn = await lab.with_activities(work("job"))
    leased = await lab.take_work()
    lab.advance(LEASE)
    mark = ParkedMark(reason="late", details="late")
    late = ActivityRelease(lease=leased.lease, delay=SECOND, counted=False, parked=mark)
    await lab.provider.release_activity(late)
    expected = ParkedState(reason="late", details="late", since=lab.now)
    expect_equal((await lab.state()).parked, expected, "the mark of a release after the end")
    await lab.expect_no_work("released with a delay after its end")
    lab.advance(SECOND)
    first = await lab.take_work()
    expect_equal(first.delivery, 1, "delivery after an uncounted release of an expired lease")
    await lab.commit(turn)
    lab.advance(LEASE)
    second = await lab.take_work()
    expect_equal(second.delivery, 2, "delivery after another took over")
    late = ActivityRelease(lease=first.lease, delay=SECOND, counted=False, parked=mark)
    await lab.provider.release_activity(late)
    await lab.expect_no_work("another holds it, and a late release came")
    expect_equal((await lab.state()).parked, None, "the mark of a late release")
    await lab.complete(second)
    await lab.provider.release_activity(ActivityRelease(lease=second.lease, parked=mark))
    await lab.expect_no_work("it was released after its completion")
    expect_equal((await lab.state()).parked, None, "the mark of a release after completion")


@check("ACT-14")
async def activity_leases_are_renewed_while_they_stand(lab: Lab) -> None:
    """A renewal extends what stands, live or expired, and names what is gone."""
    names = ("kept", "returned", "taken", "released", "done", "cancelled")
    turn = await lab.with_activities(*(work(name) for name in names))
    ending = await lab.with_activities(work("void"), instance="ending")
    leases = {each.id: each for each in await lab.lease_work(token="mine")}
    by_name = {name: each.lease for name, each in leases.items()}
    await lab.provider.release_activity(ActivityRelease(lease=by_name["released"]))
    await lab.complete(leases["done"])
    await lab.keep(turn, cancel=("cancelled",))
    await lab.commit(ending, end=COMPLETED)
    unknown = ActivityLease(instance="alpha", activity="unknown", token="mine")
    stranger = ActivityLease(instance="alpha", activity="kept", token="stranger")
    gone = {by_name[n] for n in ("released", "done", "cancelled", "void")}
    gone |= {unknown, stranger}
    lab.advance(20 * SECOND)
    found = await lab.provider.renew_activities([by_name["kept"], *gone], lease_for=LEASE)
    expect_equal(found, frozenset(gone), "gone at the first renewal")
    lab.advance(10 * SECOND)
    taken = {each.id: each for each in await lab.lease_work(token="other")}
    expect_equal(sorted(taken), ["released", "returned", "taken"], "leased by another")
    await lab.provider.release_activity(ActivityRelease(lease=taken["returned"].lease))
    late = {by_name[n] for n in ("returned", "taken")}
    found = await lab.provider.renew_activities(
        [by_name["kept"], *late], lease_for=timedelta(minutes=1)
    )
    expect_equal(found, frozenset(late), "gone at the second renewal")
    lab.advance(timedelta(minutes=1))
    found = await lab.provider.renew_activities([by_name["kept"]], lease_for=LEASE)
    expect_equal(found, frozenset(), "gone when expired and not taken")
    lab.advance(LEASE - INSTANT)
    left = [each.id for each in await lab.lease_work()]
    expect("kept" not in left, "an expired lease that was renewed is not live")
    lab.advance(INSTANT)
    left = [(each.id, each.delivery) for each in await lab.lease_work()]
    expect(("kept", 2) in left, f"not leased as a second delivery at its new end, but {left}")
    found = await lab.provider.renew_activities([by_name["kept"]], lease_for=LEASE)
    expect_equal(found, frozenset({by_name["kept"]}), "gone when another took it")


@check("ACT-15")
async def void_activities_are_never_leased(lab: Lab) -> None:
    """What an ended or continued execution leaves behind is not leased."""
    names = ("waiting", "leased")
    turn = await lab.with_activities(*map(work, names), work("later", visible_at=lab.after(LEASE)))
    await lab.lease_work(limit=1)
    turn = await lab.keep(turn, end=AGAIN, front=(restart(2),))
    await lab.expect_no_work("its execution is over")
    lab.advance(LEASE - SECOND)
    turn = await lab.keep(turn, add=tuple(map(work, names)))
    lab.advance(2 * SECOND)
    found = sorted((each.id, each.execution) for each in await lab.lease_work(limit=1))
    expect_equal([execution for _, execution in found], [2], "executions of leased activities")
    await lab.commit(turn, end=COMPLETED)
    lab.advance(LEASE)
    await lab.expect_no_work("its instance has ended")
    found = await lab.lease_work(names=frozenset({"x"}), unregistered_for=SECOND)
    expect_equal(len(found), 0, "void activities leased as unregistered")


@check("ACT-16")
async def unregistered_activities_are_found(lab: Lab) -> None:
    """Who asks for it also gets activities that nobody served for so long."""
    minute = timedelta(minutes=1)
    unregistered = {
        "name": work("name", name="other"),
        "tag": work("tag", tag="gpu"),
        "both": work("both", name="other", tag="gpu"),
    }
    await lab.with_activities(*unregistered.values())
    lab.advance(minute - INSTANT)
    expect_equal(len(await lab.lease_work(unregistered_for=minute)), 0, "unregistered too early")
    lab.advance(INSTANT)
    expect_equal(len(await lab.lease_work()), 0, "unregistered without being asked for")
    await lab.with_activities(work("served"), instance="beta")
    found = {each.id: each for each in await lab.lease_work(unregistered_for=minute)}
    expect_equal(
        {name: (each.name, each.tag, each.served) for name, each in found.items()},
        {name: (each.name, each.tag, False) for name, each in unregistered.items()}
        | {"served": ("work", None, True)},
        "activities leased, and whether served",
    )
    for name in unregistered:
        release = ActivityRelease(lease=found[name].lease, counted=False)
        await lab.provider.release_activity(release)
    lab.advance(minute - INSTANT)
    leased = {each.id for each in await lab.lease_work(unregistered_for=minute)}
    expect_equal(leased & unregistered.keys(), set(), "unregistered too early after their release")
    lab.advance(INSTANT)
    leased = {each.id for each in await lab.lease_work(unregistered_for=minute)}
    expect_equal(
        leased & unregistered.keys(), set(unregistered), "unregistered a minute after their release"
    )


@check("ACT-17")
async def unregistered_activities_stand_in_nobodys_way(lab: Lab) -> None:
    """However much waits that the caller can't run, what it can run comes first."""
    turn = await lab.started()
    kinds = (("other", None), ("other", "gpu"), (None, "gpu"))
    others = [
        work(f"a-{n:04}", name=kinds[n % 3][0] or "work", tag=kinds[n % 3][1]) for n in range(1200)
    ]
    for begin in range(0, 1200, 300):
        turn = await lab.keep(turn, remove=("start",), add=tuple(others[begin : begin + 300]))
    lab.advance(SECOND)
    turn = await lab.keep(turn, add=(work("mine"),))
    leased = await lab.lease_work(limit=1)
    expect_equal([each.id for each in leased], ["mine"], "leased behind 1,200 others")
    lab.advance(SECOND)
    await lab.keep(turn, add=(work("mine too"),))
    leased = await lab.lease_work(limit=1, unregistered_for=SECOND)
    expect_equal([each.id for each in leased], ["mine too"], "leased first, with unregistered ones")


@check("ACT-18")
async def an_activity_lease_out_of_reach_has_expired(lab: Lab) -> None:
    """After the clock stepped back no activity's lease is live for longer than it may."""
    await lab.with_activities(work("job"), work("renewed"))
    leased = {each.id: each for each in await lab.lease_work(lease_for=timedelta(minutes=5))}
    lab.clock.step_back(ALLOWED_SKEW / 2)
    await lab.expect_no_work("a step back within the allowed skew")
    lab.clock.step_back(HOUR)
    renewed = [leased["renewed"].lease]
    gone = await lab.provider.renew_activities(renewed, lease_for=LEASE)
    expect_equal(gone, frozenset(), "gone at a renewal")
    expect_equal((await lab.take_work()).delivery, 2, "delivery after the step back")
    with expect_refusal(ActivityLeaseLost, "a completion under what was beyond reach and taken"):
        await lab.complete(leased["job"])
    lab.advance(LEASE - INSTANT)
    await lab.expect_no_work("a microsecond before the end of what was renewed")
    await lab.complete(leased["renewed"])


@check("ACT-19")
async def each_activity_is_one_workers(lab: Lab) -> None:
    """Many workers at once never lease one activity twice, and one completion is accepted."""
    objects = [lab.provider, await lab.open(), await lab.open()]
    names = [f"a-{n:03}" for n in range(60)]
    await lab.with_activities(*map(work, names))
    answers = await lab.all_well(
        lab.lease_work(limit=7, provider=objects[n % 3]) for n in range(24)
    )
    leased = [each for found in answers for each in found]
    leased += await lab.lease_work()
    counts = Counter(each.id for each in leased)
    expect_equal([n for n, count in counts.items() if count > 1], [], "leased by two workers")
    expect_equal(sorted(counts), names, "activities leased in all")
    outcomes = await lab.all_of(lab.complete(each) for each in leased for _ in range(2))
    accepted = sum(outcome is None for outcome in outcomes)
    expect_equal(accepted, len(names), "completions accepted of two each")
    lab.advance(LEASE)
    turn = await lab.take()
    expect_equal(sorted(delivered(turn)), sorted(f"result-{n}" for n in names), "results")


@check("ACT-20")
async def a_cancelled_activity_lease_is_given_back(lab: Lab) -> None:
    """A cancelled call leaves no activity leased."""
    await lab.with_activities(work("a"), work("b"))
    for steps in range(10):
        task = asyncio.ensure_future(lab.lease_work(token=f"cancelled-{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            leased = await lab.lease_work()
        else:
            leased = outcome
        found = sorted((each.id, each.delivery) for each in leased)
        expect_equal(found, [("a", 1), ("b", 1)], f"leased after a cancel at step {steps}")
        for each in leased:
            await lab.provider.release_activity(ActivityRelease(lease=each.lease, counted=False))


@check("ACT-21")
async def activity_ids_are_an_instances_own(lab: Lab) -> None:
    """Activities of the same id in two instances are strangers."""
    turns = {name: await lab.with_activities(work("job"), instance=name) for name in ("a", "b")}
    leased = {each.instance: each for each in await lab.lease_work(names=WORK)}
    expect_equal(sorted(leased), ["a", "b"], "instances whose activity was leased")
    turns["a"] = await lab.keep(turns["a"], cancel=("job",))
    gone = await lab.provider.renew_activities(
        [each.lease for each in leased.values()], lease_for=LEASE
    )
    expect_equal(gone, frozenset({leased["a"].lease}), "gone after one was cancelled")
    await lab.complete(leased["b"])
    turns["a"] = await lab.keep(turns["a"])
    turns["b"] = await lab.keep(turns["b"])
    expect_equal((delivered(turns["a"]), delivered(turns["b"])), ([], ["result-job"]), "messages")


@check("ACT-22")
async def unregistered_activities_are_left_to_who_serves_them(lab: Lab) -> None:
    """An activity that was leased as unregistered and given back is leased at once by who serves it."""
    await lab.with_activities(work("job", tag="gpu"))
    lab.advance(SECOND)
    (looked_at,) = await lab.lease_work(token="mine", unregistered_for=SECOND)
    (again,) = await lab.lease_work(token="mine", tags=frozenset({"gpu"}))
    expect_equal(again, replace(looked_at, served=True), "the repeat of a call that serves it")
    (again,) = await lab.lease_work(token="mine")
    expect_equal(again, replace(looked_at, served=False), "the repeat of one that does not")
    release = ActivityRelease(lease=looked_at.lease, counted=False)
    await lab.provider.release_activity(release)
    found = await lab.lease_work(tags=frozenset({"gpu"}))
    expect_equal([(each.id, each.delivery) for each in found], [("job", 1)], "activities leased")


@check("ACT-23")
async def a_delivery_that_was_taken_over_is_accounted_for(lab: Lab) -> None:
    """An uncounted release of the activity's lease that was last taken over takes its count back, once, and does nothing else."""
    await lab.with_activities(work("job"))

    async def after_the_end(delivery: int) -> LeasedActivity:
        lab.advance(LEASE)
        leased = await lab.take_work()
        expect_equal(leased.delivery, delivery, "delivery")
        return leased

    async def release(lease: ActivityLease, *, counted: bool = False) -> None:
        mark = ParkedMark(reason="stalled", details="stalled")
        await lab.provider.release_activity(
            ActivityRelease(lease=lease, delay=SECOND, counted=counted, parked=mark)
        )
        expect_equal((await lab.state()).parked, None, "the mark of a worker that gave account")
        await lab.expect_no_work("another holds it, and a worker gave account")

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
    await lab.provider.release_activity(ActivityRelease(lease=last.lease, counted=False))
    await lab.provider.release_activity(ActivityRelease(lease=fourth.lease, counted=False))
    expect_equal((await lab.take_work()).delivery, 3, "delivery after both gave account")
    await release(second.lease)
