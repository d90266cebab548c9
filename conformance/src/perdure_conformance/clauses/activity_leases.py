"""ACT: leases of activities: who gets one, for how long, and its renewal."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from perdure.contract import (
    ALLOWED_SKEW,
    LONGEST_LEASE,
    ActivityLease,
    ActivityRelease,
    ExecutionEnd,
    InstanceStatus,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.crowds import expect_all_work_renewed
from perdure_conformance.clauses.spans import INSTANT, SPANS
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    WORK,
    delivered,
    restart,
    work,
)

HOUR = timedelta(hours=1)
FAR = timedelta(days=400)
COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)


@check("ACT-1")
async def activities_are_leased(bench: Bench) -> None:
    """Available activities are leased with all that a worker needs."""
    turn = await bench.started()
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    bench.advance(SECOND)
    added = bench.now
    await bench.keep(turn, add=(work("job", data=b"input", tag="gpu"),))
    bench.advance(SECOND)
    found = (await bench.lease_work(token="mine", tags=frozenset({"gpu"})))[0]
    expect_equal(
        (found.instance, found.incarnation, found.execution, found.id, found.name, found.tag),
        ("alpha", turn.state.incarnation, 2, "job", "work", "gpu"),
        "whose activity it is, and which",
    )
    expect_equal(
        (found.data, found.token, found.until, found.delivery, found.added_at, found.served),
        (b"input", "mine", bench.after(LEASE), 1, added, True),
        "data, token, end, delivery, added_at, served",
    )
    for length in SPANS:
        await bench.provider.release_activity(ActivityRelease(lease=found.lease))
        found = (await bench.lease_work(lease_for=length, tags=frozenset({"gpu"})))[0]
        expect_equal(
            (found.until, found.added_at),
            (bench.after(length), added),
            f"the end of a lease for {length}, and added_at",
        )


@check("ACT-2")
async def an_activity_lease_is_exclusive_and_ends(bench: Bench) -> None:
    """A live lease of an activity is exclusive; from its end on another worker can lease it."""
    await bench.with_activities(work("job"))
    other = await bench.open()
    for delivery, length in enumerate(SPANS, 1):
        leased = await bench.take_work(lease_for=length)
        expect_equal(leased.delivery, delivery, "delivery after earlier leases ran out")
        bench.advance(length - INSTANT)
        if length > INSTANT:
            await bench.expect_no_work(f"a microsecond before the end of a lease of {length}")
        bench.advance(INSTANT)
    await bench.take_work()
    found = await bench.lease_work(provider=other)
    expect_equal(len(found), 0, "leases through another object")


@check("ACT-3")
async def names_and_tags_are_matched(bench: Bench) -> None:
    """Only activities of the names and tags asked for are leased, up to the limit."""
    await bench.with_activities(
        work("untagged"),
        work("gpu", tag="gpu"),
        work("cpu", tag="cpu"),
        work("other", name="other"),
        work("other gpu", name="other", tag="gpu"),
        work("second"),
    )
    found = [each.id for each in await bench.lease_work(limit=1)]
    expect_equal(len(found), 1, "leases at a limit of one")
    found += [each.id for each in await bench.lease_work(limit=5)]
    expect_equal(found, ["untagged", "second"], "untagged work, in two calls")
    found = [each.id for each in await bench.lease_work(tags=frozenset({"gpu", None}))]
    expect_equal(found, ["gpu"], "work of tag gpu")
    both = frozenset({"work", "other"})
    found = [each.id for each in await bench.lease_work(names=both, tags=frozenset({"cpu"}))]
    expect_equal(found, ["cpu"], "work of tag cpu")
    found = [each.id for each in await bench.lease_work(names=frozenset({"other"}))]
    expect_equal(found, ["other"], "other work without a tag")
    expect_equal(
        len(await bench.lease_work(names=frozenset())),
        0,
        "activities for a caller that serves nothing",
    )


@check("ACT-4")
async def activities_wait_for_their_time(bench: Bench) -> None:
    """An activity is leased from its `visible_at` on, and not before."""
    await bench.with_activities(
        work("later", visible_at=bench.after(SECOND)),
        work("far", visible_at=bench.after(FAR)),
        work("now"),
    )
    await bench.complete(await bench.take_work("now"))
    bench.advance(SECOND - INSTANT)
    await bench.expect_no_work("a microsecond before its time")
    bench.advance(INSTANT)
    later = await bench.take_work("later")
    expect_equal(later.delivery, 1, "delivery at its time")
    await bench.complete(later)
    bench.advance(FAR - SECOND - INSTANT)
    await bench.expect_no_work(f"a microsecond before the time of one that was {FAR} away")
    bench.advance(INSTANT)
    await bench.take_work("far")


@check("ACT-6")
async def a_repeated_lease_finds_its_own_work(bench: Bench) -> None:
    """A repeat under the same token gives the leases it holds, uncounted."""
    await bench.with_activities(*(work(f"a-{n}") for n in range(4)))
    first = await bench.lease_work(token="mine", limit=2)
    expect_equal(len(first), 2, "leases at a limit of two")
    bench.advance(SECOND)
    again = await bench.lease_work(token="mine", limit=2)
    expect_equal(
        sorted((e.id, e.delivery, e.until) for e in again),
        sorted((e.id, e.delivery, e.until) for e in first),
        "leases of the repeat",
    )
    more = await bench.lease_work(token="mine", limit=3)
    expect_equal({e.id for e in more[:2]}, {e.id for e in first}, "the leases held come first")
    expect_equal(len(more), 3, "leases at a limit of three")
    strange = await bench.lease_work(token="mine", limit=2, names=frozenset({"stranger"}))
    expect_equal(len(strange), 2, "leases of a repeat at a limit of two, of three that are held")
    expect(
        not any(e.served for e in strange), "a repeat that asks for other names is told `served`"
    )
    await bench.complete(first[0])
    left = {e.id for e in await bench.lease_work(token="mine")}
    expect(first[0].id not in left, "a completed activity was found again")
    bench.advance(LEASE)
    expired = [(e.id, e.delivery) for e in await bench.lease_work(token="mine")]
    expect_equal(
        sorted(expired),
        sorted((name, 2) for name in left),
        "ids and deliveries under the token of leases that have expired",
    )


@check("ACT-14")
async def activity_leases_are_renewed_while_they_stand(bench: Bench) -> None:
    """A renewal extends what stands, live or expired, and names what is gone."""
    names = ("kept", "returned", "taken", "released", "done", "cancelled")
    turn = await bench.with_activities(*(work(name) for name in names))
    ending = await bench.with_activities(work("void"), instance="ending")
    leases = {each.id: each for each in await bench.lease_work(token="mine")}
    by_name = {name: each.lease for name, each in leases.items()}
    await bench.provider.release_activity(ActivityRelease(lease=by_name["released"]))
    await bench.complete(leases["done"])
    await bench.keep(turn, cancel=("cancelled",))
    await bench.commit(ending, end=COMPLETED)
    unknown = ActivityLease(instance="alpha", activity="unknown", token="mine")
    stranger = ActivityLease(instance="alpha", activity="kept", token="stranger")
    gone = {by_name[n] for n in ("released", "done", "cancelled", "void")}
    gone |= {unknown, stranger}
    bench.advance(20 * SECOND)
    found = await bench.provider.renew_activities([by_name["kept"], *gone], lease_for=LEASE)
    expect_equal(found, frozenset(gone), "gone at the first renewal")
    left = [each.id for each in await bench.lease_work(token="first")]
    expect_equal(left, ["released"], "leased after a renewal of what was released")
    bench.advance(10 * SECOND)
    taken = {each.id: each for each in await bench.lease_work(token="other")}
    expect_equal(sorted(taken), ["returned", "taken"], "leased by another")
    await bench.provider.release_activity(ActivityRelease(lease=taken["returned"].lease))
    late = {by_name[n] for n in ("returned", "taken")}
    found = await bench.provider.renew_activities(
        [by_name["kept"], *late], lease_for=timedelta(minutes=1)
    )
    expect_equal(found, frozenset(late), "gone at the second renewal")
    bench.advance(timedelta(minutes=1))
    found = await bench.provider.renew_activities([by_name["kept"]], lease_for=LEASE)
    expect_equal(found, frozenset(), "gone when expired and not taken")
    bench.advance(LEASE - INSTANT)
    left = [each.id for each in await bench.lease_work()]
    expect("kept" not in left, "an expired lease that was renewed is not live")
    bench.advance(INSTANT)
    left = [(each.id, each.delivery) for each in await bench.lease_work()]
    expect(("kept", 2) in left, f"not leased as a second delivery at its new end, but {left}")
    found = await bench.provider.renew_activities([by_name["kept"]], lease_for=LEASE)
    expect_equal(found, frozenset({by_name["kept"]}), "gone when another took it")
    bench.advance(LEASE)
    mine = {each.id: each for each in await bench.lease_work()}["kept"].lease
    await bench.provider.renew_activities([mine], lease_for=2 * SECOND)
    await bench.provider.renew_activities([mine], lease_for=SECOND)
    bench.advance(SECOND - INSTANT)
    left = [each.id for each in await bench.lease_work()]
    expect("kept" not in left, "a lease that was renewed for a shorter time has an early end")
    bench.advance(INSTANT)
    left = [each.id for each in await bench.lease_work()]
    expect("kept" in left, "a lease that was renewed for a shorter time lasts longer")
    await bench.commit(await bench.pick("alpha"), end=COMPLETED)
    await expect_all_work_renewed(bench)


@check("ACT-15")
async def void_activities_are_never_leased(bench: Bench) -> None:
    """What an ended or continued execution leaves behind is not leased."""
    names = ("waiting", "leased")
    turn = await bench.with_activities(
        *map(work, names), work("later", visible_at=bench.after(LEASE))
    )
    await bench.lease_work(limit=1)
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    await bench.expect_no_work("its execution is over")
    bench.advance(LEASE - SECOND)
    turn = await bench.keep(turn, add=tuple(map(work, names)))
    bench.advance(2 * SECOND)
    leased = await bench.lease_work()
    found = sorted((each.id, each.execution) for each in leased)
    expect_equal(found, [("leased", 2), ("waiting", 2)], "activities leased, and their executions")
    later = work("later", visible_at=bench.after(LEASE / 2))
    turn = await bench.keep(turn, add=(later, work("another", visible_at=bench.after(LEASE / 3))))
    await bench.provider.release_activity(
        ActivityRelease(lease=leased[0].lease, delay=LEASE / 2, counted=False)
    )
    await bench.commit(turn, end=COMPLETED)
    bench.advance(LEASE / 2)
    await bench.expect_no_work("its instance ended while activities were hidden")
    bench.advance(LEASE)
    await bench.expect_no_work("its instance has ended")
    found = await bench.lease_work(names=frozenset({"x"}), unregistered_for=SECOND)
    expect_equal(len(found), 0, "void activities leased as unregistered")


@check("ACT-18")
async def an_activity_lease_out_of_reach_has_expired(bench: Bench) -> None:
    """After the clock stepped back no activity's lease is live for longer than it may."""
    await bench.with_activities(work("job"), work("renewed"), work("delayed"))
    leased = {each.id: each for each in await bench.lease_work(lease_for=LONGEST_LEASE)}
    await bench.provider.release_activity(
        ActivityRelease(lease=leased["delayed"].lease, delay=LONGEST_LEASE)
    )
    bench.clock.step_back(ALLOWED_SKEW)
    await bench.expect_no_work("a step back by the allowed skew")
    bench.clock.step_back(INSTANT)
    renewed = [leased["renewed"].lease]
    await bench.provider.renew_activities(renewed, lease_for=LEASE)
    found = sorted(each.id for each in await bench.lease_work(token="second"))
    expect_equal(
        found,
        ["delayed", "job"],
        "leased a microsecond beyond the allowed skew: what was delayed or leased for the longest time",
    )
    await bench.lease_work(token="second")
    bench.clock.step_back(HOUR)
    gone = await bench.provider.renew_activities(renewed, lease_for=LEASE)
    expect_equal(gone, frozenset(), "gone at a renewal")
    found = sorted((each.id, each.delivery) for each in await bench.lease_work())
    expect_equal(found, [("delayed", 3), ("job", 3)], "id and delivery after the step back")
    with expect_refusal(ActivityLeaseLost, "a completion under what was out of reach and taken"):
        await bench.complete(leased["job"])
    bench.advance(LEASE - INSTANT)
    await bench.expect_no_work("a microsecond before the end of what was renewed")
    await bench.complete(leased["renewed"])


@check("ACT-19")
async def each_activity_goes_to_one_worker(bench: Bench) -> None:
    """Many workers at once never lease one activity twice, and one completion is accepted."""
    objects = [bench.provider, await bench.open(), await bench.open()]
    names = [f"a-{n:03}" for n in range(60)]
    await bench.with_activities(*map(work, names))
    answers = await bench.all_well(
        bench.lease_work(limit=7, provider=objects[n % 3]) for n in range(24)
    )
    leased = [each for found in answers for each in found]
    leased += await bench.lease_work()
    counts = Counter(each.id for each in leased)
    expect_equal([n for n, count in counts.items() if count > 1], [], "leased by two workers")
    expect_equal(sorted(counts), names, "activities leased in all")
    outcomes = await bench.all_of(bench.complete(each) for each in leased for _ in range(2))
    accepted = sum(outcome is None for outcome in outcomes)
    expect_equal(accepted, len(names), "completions accepted of two each")
    bench.advance(LEASE)
    turn = await bench.take()
    expect_equal(sorted(delivered(turn)), sorted(f"result-{n}" for n in names), "results")


@check("ACT-20")
async def a_cancelled_activity_lease_is_given_back(bench: Bench) -> None:
    """A cancelled call leaves no activity leased."""
    await bench.with_activities(work("a"), work("b"))
    for steps in range(10):
        task = asyncio.ensure_future(bench.lease_work(token=f"cancelled-{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            leased = await bench.lease_work()
        else:
            leased = outcome
        found = sorted((each.id, each.delivery) for each in leased)
        expect_equal(found, [("a", 1), ("b", 1)], f"leased after a cancel at step {steps}")
        for each in leased:
            await bench.provider.release_activity(ActivityRelease(lease=each.lease, counted=False))


@check("ACT-21")
async def activity_ids_are_an_instances_own(bench: Bench) -> None:
    """Activities of the same id in two instances are independent."""
    turns = {name: await bench.with_activities(work("job"), instance=name) for name in ("a", "b")}
    leased = {each.instance: each for each in await bench.lease_work(names=WORK)}
    expect_equal(sorted(leased), ["a", "b"], "instances whose activity was leased")
    turns["a"] = await bench.keep(turns["a"], cancel=("job",))
    gone = await bench.provider.renew_activities(
        [each.lease for each in leased.values()], lease_for=LEASE
    )
    expect_equal(gone, frozenset({leased["a"].lease}), "gone after one was cancelled")
    await bench.complete(leased["b"])
    turns["a"] = await bench.keep(turns["a"])
    turns["b"] = await bench.keep(turns["b"])
    expect_equal((delivered(turns["a"]), delivered(turns["b"])), ([], ["result-job"]), "messages")
