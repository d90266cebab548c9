"""CALL-14: what a look for work may pass over while other calls are under way.

All kinds of calls begin at once, each on an instance of its own, and a look begins beside them,
through another provider object, at shifted moments. Instances that no call concerns stand by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from perdure.contract import ActivityRelease, LeasedActivity, LeasedTurn, Provider, TurnRelease
from perdure.errors import ActivityLeaseLost, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, SECOND, event, work

T = TypeVar("T")

LONG = LEASE * 4
"""Longer than the check: what a round has leased is not met again."""
SHIFTS = (-12, -4, -1, 1, 3, 8)
"""Steps of the event loop by which the look begins later than the other calls."""
BYSTANDERS = frozenset({"bystander-1", "bystander-2"})


@check("CALL-14")
async def a_look_passes_over_what_overlapping_calls_concern_and_nothing_else(bench: Bench) -> None:
    """A look for work finds what no overlapping call concerns, and one that begins afterwards finds all that is left."""
    other = await bench.open()
    for shift in SHIFTS:
        await look_for_turns_beside_calls(bench, other, shift)
    for shift in SHIFTS[1:5]:
        await look_for_activities_beside_calls(bench, other, shift)


async def look_for_turns_beside_calls(bench: Bench, other: Provider, shift: int) -> None:
    """Send, commit, release, renew and create, and look beside it."""
    id_of = ids_of("turns", shift)
    await bench.all_well(bench.create(id_of(kind)) for kind in ("committed", "released", "renewed"))
    turns = {kind_of(turn.state.instance): turn for turn in await bench.lease(lease_for=SECOND)}
    bench.advance(SECOND)
    await bench.all_well(bench.create(id_of(kind)) for kind in ("sent", *sorted(BYSTANDERS)))
    commit = bench.draft(turns["committed"], events=(b"1",), remove=())
    release = TurnRelease(lease=held_by(turns["released"]))
    gone: list[object] = []

    async def make_commit() -> None:
        # It may find that the look has taken its lease over.
        with suppress(LeaseLost):
            await bench.provider.commit_turn(commit)

    async def renew() -> None:
        leases = [held_by(turns["renewed"])]
        gone.extend(await bench.provider.renew_turns(leases, lease_for=LONG))

    calls: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: bench.create(id_of("created")),
        lambda: bench.send(event("event", id_of("sent"))),
        make_commit,
        lambda: bench.provider.release_turn(release),
        renew,
    )
    found = await beside(calls, lambda: bench.lease(provider=other, lease_for=LONG), shift)
    left = await bench.lease(provider=other, lease_for=LONG)
    # A renewal that came after the look has found its lease gone.
    ready = {"created", "sent", "committed", "released", *(["renewed"] if gone else [])}
    expect_looks(found, left, ready | BYSTANDERS, f"turns, shifted by {shift}")


async def look_for_activities_beside_calls(bench: Bench, other: Provider, shift: int) -> None:
    """Release, complete, renew and add activities, and look for some beside it."""
    id_of, added = ids_of("work", shift), (work("job"),)
    leased_before = ("released", "completed", "renewed")
    kinds = (*leased_before, "added", *sorted(BYSTANDERS))
    await bench.all_well(bench.create(id_of(kind)) for kind in kinds)
    turns = {turn.state.instance: turn for turn in await bench.lease(lease_for=LONG)}
    for kind in leased_before:
        await bench.commit(turns[id_of(kind)], add=added)
    leased = {kind_of(each.instance): each for each in await bench.lease_work(lease_for=SECOND)}
    bench.advance(SECOND)
    for kind in BYSTANDERS:
        await bench.commit(turns[id_of(kind)], add=added)
    commit = bench.draft(turns[id_of("added")], add=added)
    release = ActivityRelease(lease=leased["released"].lease)
    completed: list[bool] = []
    gone: list[object] = []

    async def complete() -> None:
        # It may find that the look has taken its activity over.
        with suppress(ActivityLeaseLost):
            await bench.complete(leased["completed"])
            completed.append(True)

    async def renew() -> None:
        leases = [leased["renewed"].lease]
        gone.extend(await bench.provider.renew_activities(leases, lease_for=LONG))

    calls: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: bench.provider.release_activity(release),
        complete,
        renew,
        lambda: bench.provider.commit_turn(commit),
    )
    found = await beside(calls, lambda: bench.lease_work(provider=other, lease_for=LONG), shift)
    left = await bench.lease_work(provider=other, lease_for=LONG)
    ready = {
        "released",
        "added",
        *(["renewed"] if gone else []),
        *([] if completed else ["completed"]),
    }
    expect_looks(found, left, ready | BYSTANDERS, f"activities, shifted by {shift}")


async def beside(
    calls: Sequence[Callable[[], Awaitable[object]]],
    look: Callable[[], Awaitable[Sequence[T]]],
    shift: int,
) -> Sequence[T]:
    """What a look finds that begins this many steps after the calls, or before them."""
    looking = asyncio.ensure_future(after_steps(max(0, shift), look))
    others = [asyncio.ensure_future(after_steps(max(0, -shift), call)) for call in calls]
    await asyncio.gather(*others)
    return await looking


async def after_steps(number: int, call: Callable[[], Awaitable[T]]) -> T:
    """The answer to a call that begins when the event loop has made this many steps."""
    for _ in range(number):
        await asyncio.sleep(0)
    return await call()


def ids_of(what: str, shift: int) -> Callable[[str], str]:
    """The ids of a round, by the kind of call that concerns the instance."""
    return lambda kind: f"{kind} {what} {shift}"


def kind_of(instance: str) -> str:
    """The kind of call that concerns an instance."""
    return instance.partition(" ")[0]


def expect_looks(
    found: Sequence[LeasedTurn | LeasedActivity],
    left: Sequence[LeasedTurn | LeasedActivity],
    ready: set[str],
    what: str,
) -> None:
    """Complain if both looks together lack something, or the first one passed over a bystander."""
    first, second = kinds_of(found), kinds_of(left)
    passed_over = sorted(BYSTANDERS.intersection(second))
    expect(
        not passed_over,
        f"{what}: a look beside other calls passed over {passed_over}, which none of them concerned",
    )
    expect_equal(
        sorted([*first, *second]),
        sorted(ready),
        f"{what}: what a look beside other calls and one after them leased",
    )


def kinds_of(found: Iterable[LeasedTurn | LeasedActivity]) -> list[str]:
    """The kinds of the instances that were leased, or whose activities."""
    return [
        kind_of(each.state.instance if isinstance(each, LeasedTurn) else each.instance)
        for each in found
    ]
