"""LEASE-10, LEASE-11 and ACT: work that no caller serves, and callers that ask for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    ActivityRelease,
    Serves,
    TurnRelease,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import INSTANT
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    delivered,
    event,
    new_instance,
    work,
)

HOUR = timedelta(hours=1)
DAYS = timedelta(days=2)


@check("LEASE-10")
async def unregistered_work_is_found(bench: Bench) -> None:
    """With `unregistered_for` a call also gets instances without a matching name or version, marked as such, once they waited that long."""
    await bench.create(new_instance("other name", name="unknown"))
    await bench.create(new_instance("other version", version="9.0.0"))
    minute = timedelta(minutes=1)
    bench.advance(minute - INSTANT)
    expect_equal(len(await bench.lease(unregistered_for=minute)), 0, "unregistered too early")
    bench.advance(INSTANT)
    expect_equal(len(await bench.lease()), 0, "unregistered without being asked for")
    await bench.create("served")
    turns = {t.state.instance: t for t in await bench.lease(unregistered_for=minute)}
    expect_equal(
        {name: turn.served for name, turn in turns.items()},
        {"other name": False, "other version": False, "served": True},
        "instances leased, and whether served",
    )
    expect_equal(delivered(turns["other name"]), ["start"], "messages of an unregistered one")
    release = TurnRelease(lease=held_by(turns["other name"]), counted=False)
    await bench.provider.release_turn(release)
    await bench.send(event("more", "other name"))
    bench.advance(minute - INSTANT)
    found = [t.state.instance for t in await bench.lease(unregistered_for=minute)]
    expect("other name" not in found, "unregistered again too early after its release")
    bench.advance(INSTANT)
    turns = {t.state.instance: t for t in await bench.lease(unregistered_for=minute)}
    expect("other name" in turns, "not unregistered again a minute after its release")
    release = TurnRelease(lease=held_by(turns["other name"]))
    await bench.provider.release_turn(release)
    bench.advance(DAYS - INSTANT)
    found = [t.state.instance for t in await bench.lease(unregistered_for=DAYS)]
    expect("other name" not in found, f"unregistered a microsecond before it waited for {DAYS}")
    bench.advance(INSTANT)
    found = [t.state.instance for t in await bench.lease(unregistered_for=DAYS)]
    expect("other name" in found, f"not unregistered after {DAYS}")


@check("LEASE-11")
async def unregistered_work_delays_no_other(bench: Bench) -> None:
    """Matching instances come first, however many others wait."""
    everything = Serves(orchestrations={"flow": frozenset()}, engine=1)
    await bench.all_well(
        bench.create(new_instance(f"i-{n:04}", name="unknown", engine=1 + n % 2))
        for n in range(1200)
    )
    bench.advance(HOUR)
    await bench.create("zz")
    turns = await bench.lease(limit=1, serves=everything)
    expect_equal([t.state.instance for t in turns], ["zz"], "leased behind 1,200 others")
    await bench.commit(turns[0])
    await bench.send(event("more", "zz"))
    turns = await bench.lease(limit=1, serves=everything, unregistered_for=SECOND)
    expect_equal([t.state.instance for t in turns], ["zz"], "leased first, with unregistered ones")


@check("ACT-16")
async def unregistered_activities_are_found(bench: Bench) -> None:
    """With `unregistered_for` a call also gets activities without a matching name or tag, once they waited that long."""
    minute = timedelta(minutes=1)
    unregistered = {
        "name": work("name", name="other"),
        "tag": work("tag", tag="gpu"),
        "both": work("both", name="other", tag="gpu"),
    }
    await bench.with_activities(*unregistered.values())
    bench.advance(minute - INSTANT)
    expect_equal(len(await bench.lease_work(unregistered_for=minute)), 0, "unregistered too early")
    bench.advance(INSTANT)
    expect_equal(len(await bench.lease_work()), 0, "unregistered without being asked for")
    await bench.with_activities(work("served"), instance="beta")
    found = {each.id: each for each in await bench.lease_work(unregistered_for=minute)}
    expect_equal(
        {name: (each.name, each.tag, each.served) for name, each in found.items()},
        {name: (each.name, each.tag, False) for name, each in unregistered.items()}
        | {"served": ("work", None, True)},
        "activities leased, and whether served",
    )
    for name in unregistered:
        release = ActivityRelease(lease=found[name].lease, counted=False)
        await bench.provider.release_activity(release)
    bench.advance(minute - INSTANT)
    leased = {each.id for each in await bench.lease_work(unregistered_for=minute)}
    expect_equal(leased & unregistered.keys(), set(), "unregistered too early after their release")
    bench.advance(INSTANT)
    found = {each.id: each for each in await bench.lease_work(unregistered_for=minute)}
    expect_equal(
        found.keys() & unregistered.keys(),
        set(unregistered),
        "unregistered a minute after their release",
    )
    for name in unregistered:
        await bench.provider.release_activity(ActivityRelease(lease=found[name].lease))
    for left, wanted in ((DAYS - INSTANT, set[str]()), (INSTANT, set(unregistered))):
        bench.advance(left)
        leased = {each.id for each in await bench.lease_work(unregistered_for=DAYS)}
        expect_equal(
            leased & unregistered.keys(), wanted, f"unregistered among those that wait for {DAYS}"
        )


@check("ACT-17")
async def unregistered_activities_delay_no_others(bench: Bench) -> None:
    """Matching activities come first, however many others wait."""
    turn = await bench.started()
    kinds = (("other", None), ("other", "gpu"), (None, "gpu"))
    others = [
        work(f"a-{n:04}", name=kinds[n % 3][0] or "work", tag=kinds[n % 3][1]) for n in range(1200)
    ]
    for begin in range(0, 1200, 300):
        turn = await bench.keep(turn, remove=("start",), add=tuple(others[begin : begin + 300]))
    bench.advance(SECOND)
    turn = await bench.keep(turn, add=(work("mine"),))
    leased = await bench.lease_work(limit=1)
    expect_equal([each.id for each in leased], ["mine"], "leased behind 1,200 others")
    bench.advance(SECOND)
    await bench.keep(turn, add=(work("mine too"),))
    leased = await bench.lease_work(limit=1, unregistered_for=SECOND)
    expect_equal([each.id for each in leased], ["mine too"], "leased first, with unregistered ones")


@check("ACT-22")
async def unregistered_activities_are_left_to_callers_that_serve_them(bench: Bench) -> None:
    """An activity that was leased as unregistered and given back is leased at once by a caller that serves it."""
    await bench.with_activities(work("job", tag="gpu"))
    bench.advance(SECOND)
    (looked_at,) = await bench.lease_work(token="mine", unregistered_for=SECOND)
    (again,) = await bench.lease_work(token="mine", tags=frozenset({"gpu"}))
    expect_equal(again, replace(looked_at, served=True), "the repeat of a call that serves it")
    (again,) = await bench.lease_work(token="mine")
    expect_equal(again, replace(looked_at, served=False), "the repeat of one that does not")
    release = ActivityRelease(lease=looked_at.lease, counted=False)
    await bench.provider.release_activity(release)
    found = await bench.lease_work(tags=frozenset({"gpu"}))
    expect_equal([(each.id, each.delivery) for each in found], [("job", 1)], "activities leased")


@check("ACT-24")
async def what_another_is_busy_with_is_not_unregistered(bench: Bench) -> None:
    """While one activity of a name and tag is leased, no caller gets another one as unregistered."""
    lines = {"gpu": ("render", "gpu"), "cpu": ("render", None), "other": ("encode", "gpu")}
    await bench.with_activities(
        *(
            work(f"{line} {n}", name=name, tag=tag)
            for n in (1, 2)
            for line, (name, tag) in lines.items()
        )
    )
    busy = await bench.lease_work(
        limit=1, names=frozenset({"render"}), tags=frozenset({"gpu"}), lease_for=LEASE
    )
    expect_equal([each.id for each in busy], ["gpu 1"], "leased by the one that serves it")
    bench.advance(2 * SECOND)
    found = await bench.lease_work(unregistered_for=SECOND, token="first look")
    left = ["cpu 1", "cpu 2", "other 1", "other 2"]
    expect_equal(sorted(each.id for each in found), left, "unregistered beside a busy line")
    for each in found:
        release = ActivityRelease(lease=each.lease, counted=False)
        await bench.provider.release_activity(release)
    bench.advance(LEASE - 2 * SECOND)
    found = await bench.lease_work(unregistered_for=SECOND, token="second look")
    expect_equal(
        {"gpu 1", "gpu 2"} - {each.id for each in found},
        set(),
        "not found as unregistered, though the lease has run out",
    )
