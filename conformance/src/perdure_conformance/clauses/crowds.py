"""LEASE-9, ACT-5, and renewals of many leases: what storages do in pages is done for a crowd."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import ActivityLease, ActivityRelease, TurnLease, TurnRelease

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, SECOND, event, work

CROWD = 130
"""More than the hundred that many storages read, write or compare at once."""
AT_ONCE = 30
LOOKS = 3 * CROWD // AT_ONCE
"""Looks after which everything was leased, even if each is leased twice before the last one is."""


@check("LEASE-9")
async def no_instance_is_overtaken_for_ever(bench: Bench) -> None:
    """An instance that is ready is leased after a while, however busy others are, and however many."""
    await _one_among_busy_instances(bench)
    names = _crowd("i")
    await bench.all_well(bench.create(name) for name in names)
    missing = set(names)
    for _ in range(LOOKS):
        bench.advance(timedelta(milliseconds=1))
        turns = await bench.lease(limit=AT_ONCE)
        missing -= {turn.state.instance for turn in turns}
        await bench.all_well(
            bench.provider.release_turn(TurnRelease(lease=held_by(turn))) for turn in turns
        )
        if not missing:
            return
    expect_equal(sorted(missing), [], f"overtaken by others of {CROWD} in {LOOKS} looks")


async def _one_among_busy_instances(bench: Bench) -> None:
    busy = [f"{side}-{n}" for side in ("a", "z") for n in range(3)]
    await bench.create("middle")
    await bench.commit(await bench.take("middle"))
    waiting = "middle"
    await bench.send(event("waiting", waiting))
    for name in busy:
        await bench.create(name)
    leased: set[str] = set()
    for round_ in range(60):
        bench.advance(timedelta(milliseconds=1))
        turn = (await bench.lease(limit=1))[0]
        name = turn.state.instance
        leased.add(name)
        if name == waiting:
            break
        await bench.commit(turn, send=(event(f"again-{round_}", name),))
    expect(waiting in leased, "an instance stayed ready over 60 turns of six others")
    await bench.lease()
    # What is leased now stays so while the crowd is looked for.


@check("ACT-5")
async def no_activity_is_overtaken_for_ever(bench: Bench) -> None:
    """An activity that waits is leased after a while, however much is added behind it, and however many wait."""
    await _one_among_new_activities(bench)
    names = _crowd("a")
    turn = await bench.started("crowd")
    await bench.commit(turn, add=tuple(work(name) for name in names))
    missing = set(names)
    for _ in range(LOOKS):
        bench.advance(timedelta(milliseconds=1))
        leased = await bench.lease_work(limit=AT_ONCE)
        missing -= {each.id for each in leased}
        await bench.all_well(
            bench.provider.release_activity(ActivityRelease(lease=each.lease)) for each in leased
        )
        if not missing:
            return
    expect_equal(sorted(missing), [], f"overtaken by others of {CROWD} in {LOOKS} looks")


async def _one_among_new_activities(bench: Bench) -> None:
    middle = await bench.with_activities(work("m-waiting"), instance="middle")
    await bench.commit(middle)
    turns = {name: await bench.started(name) for name in ("a", "z")}
    for name, turn in turns.items():
        turns[name] = await bench.keep(turn, add=tuple(work(f"{name}-{n}") for n in range(3)))
    found: set[str] = set()
    for round_ in range(60):
        bench.advance(timedelta(milliseconds=1))
        leased = (await bench.lease_work(limit=1))[0]
        found.add(leased.id)
        if leased.id == "m-waiting":
            break
        name = leased.instance
        turns[name] = await bench.keep(
            turns[name], finish=(leased.lease,), add=(work(f"{name}-again-{round_}"),)
        )
    expect("m-waiting" in found, "an activity waited while 60 younger ones were leased")
    await bench.lease_work()


def _crowd(letter: str) -> list[str]:
    """Names that are created in another order than they are sorted in."""
    return [f"{letter}-{n * 37 % CROWD:03}" for n in range(CROWD)]


async def expect_all_renewed(bench: Bench) -> None:
    """Complain unless a renewal of a crowd renews each and names what is gone, wherever it stands."""
    names = _crowd("i")
    await bench.all_well(bench.create(name) for name in names)
    mine = {turn.state.instance: held_by(turn) for turn in await bench.lease(limit=2 * CROWD)}
    expect_equal(len(mine), CROWD, "instances leased of a crowd")
    gone = [TurnLease(instance=name, token="another's") for name in (names[0], names[-1])]
    bench.advance(LEASE - SECOND)
    found = await bench.provider.renew_turns([gone[0], *mine.values(), gone[1]], lease_for=LEASE)
    expect_equal(found, frozenset(gone), f"gone at a renewal of {CROWD + 2} leases")
    bench.advance(2 * SECOND)
    await bench.expect_nothing_ready(f"a renewal of {CROWD + 2} leases")
    bench.advance(LEASE)


async def expect_all_work_renewed(bench: Bench) -> None:
    """Complain unless a renewal of a crowd of activities renews each and names what is gone."""
    names = _crowd("a")
    await bench.create("crowd")
    turn = await bench.pick("crowd")
    await bench.keep(turn, add=tuple(work(name) for name in names))
    mine = {each.id: each.lease for each in await bench.lease_work(limit=2 * CROWD)}
    expect_equal(len(mine), CROWD, "activities leased of a crowd")
    gone = [
        ActivityLease(instance="crowd", activity=name, token="another's")
        for name in (names[0], names[-1])
    ]
    bench.advance(LEASE - SECOND)
    found = await bench.provider.renew_activities(
        [gone[0], *mine.values(), gone[1]], lease_for=LEASE
    )
    expect_equal(found, frozenset(gone), f"gone at a renewal of {CROWD + 2} leases")
    bench.advance(2 * SECOND)
    await bench.expect_no_work(f"a renewal of {CROWD + 2} leases")
