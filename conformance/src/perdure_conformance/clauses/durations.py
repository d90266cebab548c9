"""CALL-11: how long leases and delays may last, and how much a call may ask for."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import (
    DELETION,
    LISTING,
    LONGEST_LEASE,
    MANAGEMENT,
    ActivityRelease,
    InstanceQuery,
    Serves,
    TurnRelease,
)
from perdure.errors import InvalidDuration, InvalidInput

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import SECOND, WORK, event, work


@check("CALL-11")
async def impossible_durations_are_refused(bench: Bench) -> None:
    """A lease or a delay of an impossible length is refused, and so is a limit below 1; nothing changes."""
    turn = await bench.started("leased")
    turn = await bench.keep(turn, add=(work("job"),))
    leased = await bench.take_work()
    await bench.create("ready")
    await bench.commit(await bench.take("ready"), add=(work("waiting"),))
    await bench.send(event("more", "ready"))
    before = await bench.state("leased")
    held = work("held", lease=True)
    provider, beyond = bench.provider, LONGEST_LEASE + timedelta(microseconds=1)
    for length in (timedelta(0), -SECOND, beyond):
        with expect_refusal(InvalidDuration, f"a lease of turns for {length}"):
            await bench.lease(lease_for=length)
        with expect_refusal(InvalidDuration, f"a lease of activities for {length}"):
            await bench.lease_work(lease_for=length)
        with expect_refusal(InvalidDuration, f"a renewal of turns for {length}"):
            await provider.renew_turns([held_by(turn)], lease_for=length)
        with expect_refusal(InvalidDuration, f"a renewal of activities for {length}"):
            await provider.renew_activities([leased.lease], lease_for=length)
        with expect_refusal(InvalidDuration, f"a commit that keeps its lease for {length}"):
            await bench.commit(turn, events=(b"1",), keep_for=length)
        with expect_refusal(InvalidDuration, f"a commit that leases activities for {length}"):
            await bench.commit(turn, add=(held,), activity_token="a", activity_lease_for=length)
    for length in (-SECOND, beyond):
        with expect_refusal(InvalidDuration, f"a turn given back for {length}"):
            await provider.release_turn(TurnRelease(lease=held_by(turn), delay=length))
        with expect_refusal(InvalidDuration, f"an activity given back for {length}"):
            await provider.release_activity(ActivityRelease(lease=leased.lease, delay=length))
    await bench.send(event("early", "absent"))
    for limit in (0, -1):
        await expect_limit_refused(bench, limit)
    await expect_nothing_matched(bench)
    expect_equal(await bench.state("leased"), before, "the instance after what was refused")
    found = [(turn.state.instance, turn.attempt) for turn in await bench.lease()]
    expect_equal(found, [("ready", 1)], "instances leased after what was refused")
    found = [(each.id, each.delivery) for each in await bench.lease_work()]
    expect_equal(found, [("waiting", 1)], "activities leased after what was refused")
    longest = await bench.keep(turn, keep_for=LONGEST_LEASE)
    bench.advance(LONGEST_LEASE - timedelta(microseconds=1))
    gone = [each.state.instance for each in await bench.lease()]
    expect("leased" not in gone, "the longest lease has an early end")
    await provider.release_turn(TurnRelease(lease=held_by(longest), delay=LONGEST_LEASE))


async def expect_limit_refused(bench: Bench, limit: int) -> None:
    """Complain unless every call with a limit refuses this one."""
    with expect_refusal(InvalidInput, f"a lease of {limit} turns"):
        await bench.lease(limit=limit)
    with expect_refusal(InvalidInput, f"a lease of {limit} activities"):
        await bench.lease_work(limit=limit)
    if DELETION in bench.provider.capabilities:
        with expect_refusal(InvalidInput, f"a deletion of {limit} early events"):
            await bench.provider.delete_early_events(None, limit=limit)
    if MANAGEMENT in bench.backend.declaration.capabilities:
        with expect_refusal(InvalidInput, f"a page of {limit} ids"):
            await bench.admin.list_instances(limit=limit)
    if LISTING in bench.provider.capabilities:
        with expect_refusal(InvalidInput, f"a page of {limit} instances"):
            await bench.admin.find_instances(InstanceQuery(), limit=limit)


async def expect_nothing_matched(bench: Bench) -> None:
    """Complain if a look for nothing finds something."""
    turns = await bench.lease(serves=Serves(orchestrations={}))
    expect_equal([turn.state.instance for turn in turns], [], "instances leased by no name")
    nothing: frozenset[str] = frozenset()
    for names, tags in ((nothing, frozenset({None})), (WORK, frozenset[str | None]())):
        leased = await bench.lease_work(names=names, tags=tags)
        found = [each.id for each in leased]
        expect_equal(found, [], f"activities leased for names {names} and tags {tags}")
