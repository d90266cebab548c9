"""LEASE: leases of turns: who gets one, for how long, and its renewal."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from perdure.contract import (
    ALLOWED_SKEW,
    LONGEST_LEASE,
    ExecutionEnd,
    InstanceStatus,
    Serves,
    TurnLease,
    TurnRelease,
)
from perdure.errors import LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.crowds import expect_all_renewed
from perdure_conformance.clauses.spans import INSTANT, SPANS
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import LEASE, SECOND, delivered, event, new_instance

HOUR = timedelta(hours=1)


@check("LEASE-1")
async def ready_instances_are_leased(bench: Bench) -> None:
    """Ready instances, and only these, are leased with all that a turn needs."""
    expect_equal(len(await bench.lease()), 0, "leases where nothing is stored")
    await bench.create(new_instance("alpha", version="1.0.0"))
    await bench.create("beta")
    turns = {turn.state.instance: turn for turn in await bench.lease(token="mine")}
    expect_equal(sorted(turns), ["alpha", "beta"], "instances leased")
    for name, turn in turns.items():
        expect_equal(turn.state, await bench.state(name), "the state that a lease brings")
        expect_equal(
            (turn.token, turn.until, turn.attempt, turn.more, turn.served),
            ("mine", bench.after(LEASE), 1, False, True),
            "token, end, attempt, more, served",
        )
    await bench.commit(turns["beta"], events=(b"1",))
    await bench.commit(turns["alpha"], end=ExecutionEnd(status=InstanceStatus.COMPLETED))
    await bench.expect_nothing_ready("one has no message, one has ended")
    await bench.send(event("later", "beta", visible_at=bench.after(LEASE / 7)))
    bench.advance(LEASE / 7 - INSTANT)
    await bench.expect_nothing_ready("a microsecond before the only message is visible")
    bench.advance(INSTANT)
    for length in SPANS:
        turn = await bench.take("beta", lease_for=length)
        expect_equal(turn.until, bench.after(length), f"the end of a lease for {length}")
        await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))


@check("LEASE-2")
async def a_lease_is_exclusive(bench: Bench) -> None:
    """While a lease is live, no other token gets the instance."""
    other = await bench.open()
    await bench.started()
    await bench.send(event("more"))
    await bench.expect_nothing_ready("leased")
    await bench.expect_nothing_ready("leased, asked through another object", provider=other)
    bench.advance(LEASE - INSTANT)
    await bench.expect_nothing_ready("a microsecond before the end of the lease")


@check("LEASE-3")
async def a_lease_runs_out(bench: Bench) -> None:
    """At its end a lease has expired, and another token can lease the instance."""
    await bench.create()
    for length in SPANS:
        await bench.take(lease_for=length)
        bench.advance(length - INSTANT)
        if length > INSTANT:
            await bench.expect_nothing_ready(f"a microsecond before the end of a lease of {length}")
        bench.advance(INSTANT)
    first = await bench.take()
    bench.advance(LEASE)
    second = await bench.take(token="second")
    expect_equal((second.token, delivered(second)), ("second", ["start"]), "the second lease")
    with expect_refusal(LeaseLost, "a commit under the lease that was taken over"):
        await bench.commit(first)
    await bench.commit(second)


@check("LEASE-4")
async def the_limit_is_kept(bench: Bench) -> None:
    """A call gives at most `limit` leases, and repeated calls reach every ready instance."""
    wanted = {f"i-{n}" for n in range(10)}
    for name in sorted(wanted):
        await bench.create(name)
    found: list[str] = []
    for _ in range(10):
        turns = await bench.lease(limit=3)
        expect(len(turns) <= 3, f"{len(turns)} leases at a limit of 3")
        found.extend(turn.state.instance for turn in turns)
    expect_equal(sorted(found), sorted(wanted), "instances leased over ten calls")


@check("LEASE-5")
async def names_and_versions_are_matched(bench: Bench) -> None:
    """Only instances whose name and pinned version are served are leased."""
    for name, version in (
        ("flow", None),
        ("flow", "1.0.0"),
        ("flow", "1.0.1"),
        ("other", None),
        ("other", "1.0.0"),
        ("Flow", None),
    ):
        await bench.create(new_instance(f"{name} {version}", name=name, version=version))
    serves = Serves(orchestrations={"flow": frozenset({"1.0.0"}), "none": frozenset()})
    found = sorted(turn.state.instance for turn in await bench.lease(serves=serves))
    expect_equal(found, ["flow 1.0.0", "flow None"], "instances that match")
    serves = Serves(orchestrations={"other": frozenset({"2.0.0"})})
    found = sorted(turn.state.instance for turn in await bench.lease(serves=serves))
    expect_equal(found, ["other None"], "instances that match the other filter")
    nothing = await bench.lease(serves=Serves(orchestrations={}))
    expect_equal(len(nothing), 0, "leases for a caller that serves nothing")


@check("LEASE-6")
async def newer_engines_are_left_alone(bench: Bench) -> None:
    """An instance with a newer engine is never leased, not as unregistered either."""
    await bench.create(new_instance("newer", engine=7))
    await bench.create(new_instance("unknown and newer", name="unknown", engine=7))
    await bench.create(new_instance("older", engine=5))
    bench.advance(HOUR)
    serves = Serves(orchestrations={"flow": frozenset()}, engine=6)
    found = await bench.lease(serves=serves, unregistered_for=SECOND)
    expect_equal([t.state.instance for t in found], ["older"], "leased by engine 6")
    serves = Serves(orchestrations={"flow": frozenset()}, engine=7)
    found = await bench.lease(serves=serves)
    expect_equal([t.state.instance for t in found], ["newer"], "leased by engine 7")


@check("LEASE-7")
async def a_repeated_lease_finds_its_own(bench: Bench) -> None:
    """A repeat under the same token gives the leases it holds, uncounted."""
    for name in ("a", "b", "c"):
        await bench.create(name)
    first = await bench.lease(token="mine", limit=2)
    expect_equal(len(first), 2, "leases at a limit of two")
    bench.advance(SECOND)
    again = await bench.lease(token="mine", limit=2)
    expect_equal(
        sorted((t.state.instance, t.attempt, t.until) for t in again),
        sorted((t.state.instance, t.attempt, t.until) for t in first),
        "leases of the repeat",
    )
    more = await bench.lease(token="mine", limit=3)
    expect_equal(
        sorted(t.state.instance for t in more[:2]),
        sorted(t.state.instance for t in first),
        "the leases held come first",
    )
    expect_equal(sorted(t.state.instance for t in more), ["a", "b", "c"], "with a higher limit")
    stranger = Serves(orchestrations={"stranger": frozenset({"1.0.0"})})
    strange = await bench.lease(token="mine", limit=2, serves=stranger)
    expect_equal(len(strange), 2, "leases of a repeat at a limit of two, of three that are held")
    expect(
        not any(t.served for t in strange), "a repeat that asks for other names is told `served`"
    )
    await bench.commit(first[0])
    left = await bench.lease(token="mine")
    expect(first[0].state.instance not in [t.state.instance for t in left], "a released one")
    bench.advance(LEASE - SECOND)
    expired = await bench.lease(token="mine")
    live, gone = more[2].state.instance, first[0].state.instance
    wanted = [(name, 1 if name == live else 2) for name in ("a", "b", "c") if name != gone]
    expect_equal(
        sorted((t.state.instance, t.attempt) for t in expired),
        wanted,
        "instances and attempts where one lease of the token is live and one has expired",
    )


@check("LEASE-8")
async def attempts_are_counted(bench: Bench) -> None:
    """`attempt` counts the leases since the last commit."""
    turn = await bench.started()
    for attempt in (2, 3):
        bench.advance(LEASE)
        turn = await bench.take()
        expect_equal(turn.attempt, attempt, "attempt after a lease ran out")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))
    turn = await bench.take()
    expect_equal(turn.attempt, 4, "attempt after a counted release")
    await bench.send(event("more"))
    await bench.commit(turn)
    turn = await bench.take()
    expect_equal(turn.attempt, 1, "attempt after a commit that released")
    turn = await bench.keep(turn, remove=())
    bench.advance(LEASE)
    turn = await bench.take()
    expect_equal(turn.attempt, 2, "attempt after a commit that kept, and a lease that ran out")


@check("LEASE-12")
async def leases_are_renewed_while_they_stand(bench: Bench) -> None:
    """A renewal extends what stands, live or expired, and names what is gone."""
    for name in ("kept", "returned", "taken", "released", "ended"):
        await bench.create(name)
    turns = {t.state.instance: t for t in await bench.lease(token="mine")}
    leases = {name: held_by(turn) for name, turn in turns.items()}
    unknown = TurnLease(instance="absent", token="mine")
    stranger = TurnLease(instance="kept", token="stranger")
    await bench.provider.release_turn(TurnRelease(lease=leases["released"]))
    await bench.commit(turns["ended"], end=ExecutionEnd(status=InstanceStatus.FAILED))
    bench.advance(20 * SECOND)
    gone = await bench.provider.renew_turns(
        [leases["released"], leases["kept"], leases["ended"], unknown, stranger],
        lease_for=LEASE,
    )
    expect_equal(gone, frozenset({leases["released"], leases["ended"], unknown, stranger}), "gone")
    found = [t.state.instance for t in await bench.lease(token="first")]
    expect_equal(found, ["released"], "leased after a renewal of what was released")
    bench.advance(LEASE - INSTANT)
    await bench.provider.release_turn(TurnRelease(lease=leases["released"]))
    found = sorted(t.state.instance for t in await bench.lease(token="other"))
    expect_equal(found, ["returned", "taken"], "leased just before the new end")
    again = TurnLease(instance="returned", token="other")
    await bench.provider.release_turn(TurnRelease(lease=again))
    old = [leases["kept"], leases["returned"], leases["taken"]]
    bench.advance(INSTANT)
    expect_equal(
        await bench.provider.renew_turns(old, lease_for=LEASE),
        frozenset(old[1:]),
        "gone: taken by another, and taken and given back by another",
    )
    bench.advance(LEASE - INSTANT)
    found = [t.state.instance for t in await bench.lease(token="more")]
    expect("kept" not in found, "an expired lease that was renewed is not live")
    bench.advance(INSTANT)
    turn = (await bench.pick("kept"), await bench.provider.renew_turns(old[:1], lease_for=LEASE))
    expect_equal((turn[0].attempt, turn[1]), (2, frozenset(old[:1])), "attempt when taken, gone")
    mine = [held_by(turn[0])]
    await bench.provider.renew_turns(mine, lease_for=2 * SECOND)
    expect_equal(await bench.provider.renew_turns(mine, lease_for=SECOND), frozenset(), "gone")
    bench.advance(SECOND - INSTANT)
    found = [t.state.instance for t in await bench.lease()]
    expect("kept" not in found, "a lease that was renewed for a shorter time has an early end")
    bench.advance(INSTANT)
    found = [t.state.instance for t in await bench.lease()]
    expect("kept" in found, "a lease that was renewed for a shorter time lasts longer")
    bench.advance(LEASE)
    await bench.all_well(bench.commit(turn) for turn in await bench.lease())
    await expect_all_renewed(bench)


@check("LEASE-17")
async def an_end_out_of_reach_has_passed(bench: Bench) -> None:
    """After the clock stepped back no lease is live and no delay lasts longer than it may."""
    holder = await bench.started("leased")
    renewed = await bench.started("renewed")
    await bench.create("hidden")
    turn = await bench.take("hidden")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=LONGEST_LEASE))
    await bench.create("longest")
    await bench.take("longest", lease_for=LONGEST_LEASE)
    bench.clock.step_back(ALLOWED_SKEW)
    await bench.expect_nothing_ready("a step back by the allowed skew")
    bench.clock.step_back(INSTANT)
    found = {turn.state.instance: turn for turn in await bench.lease()}
    expect_equal(
        sorted(found),
        ["hidden", "longest"],
        "leased a microsecond beyond the allowed skew: what was hidden or leased for the longest time",
    )
    for turn in found.values():
        release = TurnRelease(lease=held_by(turn), delay=LONGEST_LEASE)
        await bench.provider.release_turn(release)
    bench.clock.step_back(HOUR)
    held = [held_by(holder), held_by(renewed)]
    gone = await bench.provider.renew_turns(held[1:], lease_for=LEASE)
    expect_equal(gone, frozenset(), "gone at a renewal")
    found = sorted(t.state.instance for t in await bench.lease())
    expect_equal(
        found, ["hidden", "leased", "longest"], "leased after the clock stepped back an hour"
    )
    with expect_refusal(LeaseLost, "a commit under a lease out of reach that was taken over"):
        await bench.commit(holder)
    bench.advance(LEASE)
    found = [t.state.instance for t in await bench.lease()]
    expect("renewed" in found, "a lease that was renewed after the step back has no end")
    gone = await bench.provider.renew_turns(held, lease_for=LEASE)
    expect_equal(gone, frozenset(held), "gone when others have taken the work")


@check("LEASE-18")
async def each_turn_goes_to_one(bench: Bench) -> None:
    """Many callers at once never lease one instance twice."""
    objects = [bench.provider, await bench.open(), await bench.open()]
    names = [f"i-{n:03}" for n in range(60)]
    await bench.all_well(bench.create(name) for name in names)
    answers = await bench.all_well(bench.lease(limit=7, provider=objects[n % 3]) for n in range(24))
    found = Counter(turn.state.instance for turns in answers for turn in turns)
    twice = [name for name, count in found.items() if count > 1]
    expect_equal(twice, [], "instances leased to two callers")
    rest = [turn.state.instance for turn in await bench.lease()]
    expect_equal(sorted([*found, *rest]), names, "instances leased in all")


@check("LEASE-19")
async def a_cancelled_lease_is_given_back(bench: Bench) -> None:
    """A cancelled call leaves no instance leased."""
    await bench.create("a")
    await bench.create("b")
    for steps in range(10):
        task = asyncio.ensure_future(bench.lease(token=f"cancelled-{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            turns = await bench.lease()
        else:
            turns = outcome
        found = sorted((turn.state.instance, turn.attempt) for turn in turns)
        expect_equal(found, [("a", 1), ("b", 1)], f"leased after a cancel at step {steps}")
        for turn in turns:
            await bench.provider.release_turn(TurnRelease(lease=held_by(turn), counted=False))


@check("LEASE-20")
async def messages_that_are_not_removed_are_delivered_again(bench: Bench) -> None:
    """Delivered messages that were not removed are delivered again, in order, with new ones."""
    await bench.create()
    await bench.send(event("one"), event("two"))
    turn = await bench.take()
    await bench.send(event("three"))
    expect_equal(delivered(turn), ["start", "one", "two"], "the first delivery")
    await bench.commit(turn, remove=("start", "two"))
    turn = await bench.take()
    expect_equal(delivered(turn), ["one", "three"], "the second delivery")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn)))
    await bench.send(event("four"))
    expect_equal(delivered(await bench.take()), ["one", "three", "four"], "the third delivery")
