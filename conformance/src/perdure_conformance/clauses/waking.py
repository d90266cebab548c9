"""WAIT-3, 4 and 6: what ends a wait before its timeout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.clock import SystemClock
from perdure.contract import (
    ActivityLease,
    ActivityRelease,
    CancellationWait,
    ChangeWait,
    MessageKind,
    NewChild,
    ParkedMark,
    ParkedState,
    Provider,
    TurnRelease,
    WorkWait,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import pass_seconds
from perdure_conformance.clauses.waiting import MINUTE, SHORT, STEP, ends, ends_after, lasts
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    COMPLETED,
    FAILED,
    LEASE,
    SECOND,
    SERVES,
    WORK,
    event,
    new_instance,
    result,
    timer,
    work,
)

SOON = timedelta(seconds=2)
"""When what falls due during a wait does so."""
LONG = timedelta(minutes=5)
ELSEWHERE = 5.0
"""Real seconds in which a wait ends that another provider object brings work for."""
MOMENTS = 16
"""Moments between the begin of a wait and its first rest, at which a change must not be missed."""
SPIN = 0.00005
SWEEP = 1.0
"""Real seconds after which no further moment is tried; slow storages reach fewer."""
GPU = frozenset({"gpu"})

Call = Callable[[], Awaitable[object]]


async def all_end_after(bench: Bench, waits: tuple[Awaitable[object], ...], change: Call) -> bool:
    """The same of several waits at once."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=SHORT)
    woken_for_nothing = any(task.done() for task in tasks)
    await change()
    ended = [await ends(bench, task, within=MINUTE / 4) for task in tasks]
    return woken_for_nothing or all(ended)


async def moment(number: int) -> None:
    """Pass a moment: the first ones in steps of the event loop, later ones in real time."""
    if number < MOMENTS // 2:
        for _ in range(number):
            await asyncio.sleep(0)
        return
    await pass_seconds((number - MOMENTS // 2) * SPIN)


def says_what_it_does(provider: Provider, attribute: str, method: str) -> bool:
    """What the attribute says, which must fit: True needs a method of the provider's own."""
    told = bool(getattr(provider, attribute))
    own = getattr(type(provider), method) is not getattr(Provider, method)
    expect(own or not told, f"{attribute} is True, and {method} is the default, which only sleeps")
    return told


class Waits:
    """The waits for work of one check, and its complaints."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def turns(self, provider: Provider | None = None) -> Awaitable[object]:
        """A wait for turns."""
        wait = WorkWait(timeout=MINUTE, serves=SERVES)
        return (provider or self.bench.provider).wait_for_work(wait)

    def work(self, tags: frozenset[str | None] = frozenset({None})) -> Awaitable[object]:
        """A wait for activities."""
        wait = WorkWait(timeout=MINUTE, activity_names=WORK, activity_tags=tags)
        return self.bench.provider.wait_for_work(wait)

    async def turn_comes(self, what: str, change: Call) -> None:
        """Complain unless a wait for turns ends with the change."""
        ended = await ends_after(self.bench, self.turns(), change)
        expect(ended, f"{what}, and wait_for_work waits on")

    async def work_comes(
        self, what: str, change: Call, tags: frozenset[str | None] = frozenset({None})
    ) -> None:
        """Complain unless a wait for activities ends with the change."""
        ended = await ends_after(self.bench, self.work(tags), change)
        expect(ended, f"{what}, and wait_for_work waits on")


async def _nothing() -> None:
    """What happens where the clock alone makes a difference."""


@check("WAIT-3")
async def a_wait_for_work_ends_with_work(bench: Bench) -> None:
    """The wait of a provider that tells of work ends early when there is some, whatever brings it."""
    if not says_what_it_does(bench.provider, "tells_of_work", "wait_for_work"):
        return
    waits = Waits(bench)
    await _turns_by_calls(bench, waits)
    await _turns_by_neighbours(bench, waits)
    await _turns_by_time(bench, waits)
    await _activities(bench, waits)
    await _only_for_what_can_be_leased(bench)
    await _missed_at_no_moment(bench, waits)
    await _work_from_elsewhere(bench)


async def _turns_by_calls(bench: Bench, waits: Waits) -> None:
    provider = bench.provider
    await waits.turn_comes("an instance was created", bench.create)
    ended = await ends(bench, waits.turns(), within=MINUTE / 2)
    expect(ended, "a turn was ready before the call, and wait_for_work waits")
    turn = await bench.take(lease_for=LONG)
    release = TurnRelease(lease=held_by(turn))
    await waits.turn_comes("a turn was released", lambda: provider.release_turn(release))
    turn = await bench.take(lease_for=LONG)
    await waits.turn_comes("a commit left a message", lambda: bench.commit(turn, remove=()))
    turn = await bench.take(lease_for=LONG)
    await bench.commit(turn)
    await waits.turn_comes("an event was sent", lambda: bench.send(event("one")))
    turn = await bench.take(lease_for=LONG)
    release = TurnRelease(lease=held_by(turn), delay=LONG)
    await provider.release_turn(release)
    cancel = result("cancel", kind=MessageKind.CANCEL, execution=None)
    await waits.turn_comes("a cancellation ended a delay", lambda: bench.send(cancel))
    await bench.commit(await bench.take(lease_for=LONG))
    ended = await all_end_after(
        bench, (waits.turns(), waits.turns(), waits.turns()), lambda: bench.send(event("two"))
    )
    expect(ended, "three calls of wait_for_work waited for an event, and not each has ended")
    await bench.commit(await bench.take(lease_for=LONG))


async def _turns_by_neighbours(bench: Bench, waits: Waits) -> None:
    await bench.create("neighbour")
    turn = await bench.take("neighbour", lease_for=LONG)
    turn = await bench.keep(turn, add=(work("job"),), events=(b"1",), keep_for=LONG)
    job = await bench.take_work(lease_for=LONG)

    async def send() -> None:
        nonlocal turn
        turn = await bench.keep(turn, send=(event("three"),), events=(b"2",), keep_for=LONG)

    await waits.turn_comes("a neighbour's commit sent a message", send)
    await bench.commit(await bench.take(lease_for=LONG))
    child = NewChild(instance=new_instance("child"))
    await waits.turn_comes(
        "a neighbour's commit created a child", lambda: bench.commit(turn, create=(child,))
    )
    await bench.commit(await bench.take("child", lease_for=LONG))
    await waits.turn_comes("an activity was completed", lambda: bench.complete(job))
    await bench.commit(await bench.take("neighbour", lease_for=LONG))


async def _turns_by_time(bench: Bench, waits: Waits) -> None:
    await bench.send(timer("due", bench.after(SOON)))
    await waits.turn_comes("a message became visible during the wait", _nothing)
    bench.advance(SOON)
    turn = await bench.take(lease_for=SOON)
    await waits.turn_comes("a lease expired during the wait", _nothing)
    bench.advance(SOON)
    turn = await bench.take(lease_for=LONG)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=SOON))
    await waits.turn_comes("a delay was over during the wait", _nothing)
    bench.advance(SOON)
    await bench.commit(await bench.take(lease_for=LONG))


async def _activities(bench: Bench, waits: Waits) -> None:
    provider = bench.provider
    await bench.create("busy")
    turn = await bench.take("busy", lease_for=LONG)

    async def add(id: str, tag: str | None = None, later: timedelta | None = None) -> None:
        nonlocal turn
        visible_at = None if later is None else bench.after(later)
        new = work(id, tag=tag, visible_at=visible_at)
        turn = await bench.keep(turn, add=(new,), events=(b"1",), keep_for=LONG)

    await waits.work_comes("an activity was added", lambda: add("job"))
    ended = await ends(bench, waits.work(), within=MINUTE / 2)
    expect(ended, "an activity was there before the call, and wait_for_work waits")
    job = await bench.take_work(lease_for=LONG)
    release = ActivityRelease(lease=job.lease)
    await waits.work_comes("an activity was released", lambda: provider.release_activity(release))
    await bench.take_work(lease_for=SOON)
    await waits.work_comes("a lease of an activity expired during the wait", _nothing)
    bench.advance(SOON)
    job = await bench.take_work(lease_for=LONG)
    await provider.release_activity(ActivityRelease(lease=job.lease, delay=SOON))
    await waits.work_comes("a delay of an activity was over during the wait", _nothing)
    bench.advance(SOON)
    await bench.take_work(lease_for=LONG)
    await add("later", later=SOON)
    await waits.work_comes("an activity became visible during the wait", _nothing)
    bench.advance(SOON)
    await bench.take_work("later", lease_for=LONG)
    await waits.work_comes("a tagged activity was added", lambda: add("tagged", "gpu"), GPU)
    await bench.lease_work(tags=frozenset({"gpu"}), lease_for=LONG)
    await bench.commit(turn, cancel=("job", "later", "tagged"))


async def _only_for_what_can_be_leased(bench: Bench) -> None:
    """Complain if the caller of waits that follow each other is busy with what it cannot lease."""

    async def still_lasts(what: str, **chosen: bool) -> None:
        both = WorkWait(timeout=MINUTE, serves=SERVES, activity_names=WORK)
        wait = replace(both, serves=None) if chosen.get("activities_only") else both
        expect(
            await lasts(lambda: bench.provider.wait_for_work(wait)),
            f"{what}, and wait_for_work returns at once, again and again",
        )

    await bench.create(new_instance("other name", name="other"))
    await still_lasts("an instance of another name is ready")
    await bench.create(new_instance("other version", version="9.0.0"))
    await still_lasts("an instance of another version is ready")
    await bench.create(new_instance("newer", engine=7))
    await still_lasts("an instance with a newer engine is ready")
    await bench.send(event("early", "ghost"))
    await still_lasts("an event waits for an instance")
    await bench.create("leased")
    turn = await bench.take("leased", lease_for=LONG)
    await still_lasts("an instance with messages is leased")
    names = (
        work("other", name="other"),
        work("tagged too", tag="gpu"),
        work("held"),
        work("later", visible_at=bench.after(LONG)),
    )
    await bench.keep(turn, remove=(), add=names, keep_for=LONG)
    await bench.lease_work(lease_for=LONG)
    await still_lasts("activities of another name or tag, leased ones and later ones are there")
    await bench.create("delayed")
    turn = await bench.take("delayed", lease_for=LONG)
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), delay=LONG))
    await still_lasts("an instance with messages is delayed")
    await bench.create("ready")
    await still_lasts("an instance is ready, and the wait is for activities", activities_only=True)
    await bench.commit(await bench.take("ready", lease_for=LONG))


async def _missed_at_no_moment(bench: Bench, waits: Waits) -> None:
    until = time.perf_counter() + SWEEP
    for number in range(MOMENTS):
        if time.perf_counter() > until:
            return
        name = f"moment-{number}"
        task = asyncio.ensure_future(waits.turns())
        await moment(number)
        await bench.create(name)
        ended = await ends(bench, task, within=SECOND)
        expect(ended, f"an instance was created at moment {number} of a wait, and it waits on")
        await bench.commit(await bench.take(name, lease_for=LONG))


async def _work_from_elsewhere(bench: Bench) -> None:
    """Complain unless work that another provider object brings ends a wait in real time."""
    namespace = f"{bench.namespace}-elsewhere"
    here, there = [await bench.open(namespace=namespace, clock=SystemClock()) for _ in range(2)]
    wait = WorkWait(timeout=MINUTE, serves=SERVES)
    ended = await ends_soon(here.wait_for_work(wait), lambda: there.create_instance(new_instance()))
    expect(ended, "another provider object created an instance, and wait_for_work waits on")


async def ends_soon(wait: Awaitable[object], change: Call) -> bool:
    """Whether a wait ends in real time once something changed."""
    return all(await all_end_soon((wait,), change))


async def all_end_soon(waits: Sequence[Awaitable[object]], change: Call) -> list[bool]:
    """Of each wait, whether it ends in real time once something changed."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=10 * SHORT)
    await change()
    await asyncio.wait(tasks, timeout=ELSEWHERE)
    ended = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return ended


@check("WAIT-4")
async def a_wait_for_a_change_ends_with_it(bench: Bench) -> None:
    """The wait of a provider that tells of changes ends early when the instance differs, whatever changed it."""
    if not says_what_it_does(bench.provider, "tells_of_changes", "wait_for_change"):
        return
    for until_ended in (False, True):
        watch = Watch(bench, f"i-{until_ended}", until_ended=until_ended)
        await _creation_and_marks(bench, watch)
        await _ends(bench, watch)
    await _changes_at_each_moment(bench)
    await _changes_from_elsewhere(bench)


class Watch:
    """The waits for changes of one instance, and its complaints."""

    def __init__(self, bench: Bench, instance: str, *, until_ended: bool) -> None:
        self.bench, self.instance, self.until_ended = bench, instance, until_ended

    def wait(
        self,
        instance: str | None = None,
        *,
        commit: str | None = None,
        parked: ParkedState | None = None,
        exists: bool = True,
    ) -> Awaitable[object]:
        """A wait for a change of the instance."""
        return self.bench.provider.wait_for_change(
            ChangeWait(
                instance=instance or self.instance,
                timeout=MINUTE,
                last_commit=commit,
                parked=parked,
                exists=exists,
                until_ended=self.until_ended,
            )
        )

    async def ends(self, what: str, wait: Callable[[], Awaitable[object]], change: Call) -> None:
        """Complain unless the wait ends with the change, and at once if it begins after it."""
        hint = ", by a wait until the end" if self.until_ended else ""
        ended = await ends_after(self.bench, wait(), change)
        expect(ended, f"{what}, and wait_for_change waits on{hint}")
        ended = await ends(self.bench, wait(), within=MINUTE / 2)
        expect(ended, f"{what} before the call, and wait_for_change waits{hint}")


async def _creation_and_marks(bench: Bench, watch: Watch) -> None:
    name, provider = watch.instance, bench.provider
    await watch.ends(
        "the instance was created", lambda: watch.wait(exists=False), lambda: bench.create(name)
    )
    turn = await bench.take(name, lease_for=LONG)
    child = f"{name}-child"
    committing = bench.draft(
        turn,
        id="c-1",
        events=(b"1",),
        add=(work("job"),),
        create=(NewChild(instance=new_instance(child)),),
        keep_for=LONG,
    )
    await watch.ends(
        "a parent's commit created the instance",
        lambda: watch.wait(child, exists=False),
        lambda: provider.commit_turn(committing),
    )
    if not watch.until_ended:
        again = replace(committing, id="c-2", expected_event=1, events=(b"2",), add=(), create=())
        await watch.ends(
            "a turn committed",
            lambda: watch.wait(commit="c-1"),
            lambda: provider.commit_turn(again),
        )
    last = (await bench.state(name)).last_commit
    job = await bench.take_work(lease_for=LONG)
    mark = ParkedMark(reason="undecodable", details="by an activity")
    release = ActivityRelease(lease=job.lease, parked=mark)
    await watch.ends(
        "an activity's release parked the instance",
        lambda: watch.wait(commit=last),
        lambda: provider.release_activity(release),
    )
    parked = (await bench.state(name)).parked
    mark = ParkedMark(reason="undecodable", details="by a turn")
    await watch.ends(
        "a turn's release told other details of the mark",
        lambda: watch.wait(commit=last, parked=parked),
        lambda: provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark)),
    )
    await bench.lease(lease_for=LONG)
    await bench.lease_work(lease_for=LONG)


async def _ends(bench: Bench, watch: Watch) -> None:
    for end in (COMPLETED, FAILED):
        name = f"{watch.instance}-{end.status.value}"
        await bench.create(name)
        turn = await bench.take(name, lease_for=LONG)
        await watch.ends(
            f"the instance ended as {end.status.value}",
            lambda name=name: watch.wait(name),
            lambda turn=turn, end=end: bench.commit(turn, end=end),
        )
    name = f"{watch.instance}-watched"
    await bench.create(name)
    turn = await bench.take(name, lease_for=LONG)
    ended = await all_end_after(
        bench,
        (watch.wait(name), watch.wait(name), watch.wait(name)),
        lambda: bench.commit(turn, end=COMPLETED),
    )
    expect(ended, "three calls of wait_for_change waited for the end, and not each has ended")


async def _changes_at_each_moment(bench: Bench) -> None:
    until = time.perf_counter() + SWEEP
    for number in range(MOMENTS):
        if time.perf_counter() > until:
            return
        name = f"moment-{number}"
        wait = ChangeWait(instance=name, timeout=MINUTE, exists=False)
        task = asyncio.ensure_future(bench.provider.wait_for_change(wait))
        await moment(number)
        await bench.create(name)
        ended = await ends(bench, task, within=MINUTE / 4)
        expect(ended, f"an instance was created at moment {number} of a wait, and it waits on")


async def _changes_from_elsewhere(bench: Bench) -> None:
    namespace = f"{bench.namespace}-elsewhere"
    here, there = [await bench.open(namespace=namespace, clock=SystemClock()) for _ in range(2)]
    wait = ChangeWait(instance="alpha", timeout=MINUTE, exists=False)
    ended = await ends_soon(
        here.wait_for_change(wait), lambda: there.create_instance(new_instance())
    )
    expect(ended, "another provider object created the instance, and wait_for_change waits on")


@check("WAIT-6")
async def a_wait_for_cancellations_names_what_is_gone(bench: Bench) -> None:
    """The wait of a provider that tells of cancellations names every lease that is gone."""
    provider = bench.provider
    if not says_what_it_does(provider, "tells_of_cancellations", "wait_for_cancellation"):
        return
    names = ("kept", "taken", "released", "done", "cancelled")
    names = (*names, "twice") if provider.tells_of_changes else names
    turn = await bench.with_activities(*map(work, names))
    ending = await bench.with_activities(work("void"), instance="ending")
    leased = {each.id: each for each in await bench.lease_work(token="mine")}
    leases = {name: each.lease for name, each in leased.items()}
    found: list[frozenset[ActivityLease]] = []

    async def waiting(*chosen: str) -> None:
        wait = CancellationWait(
            leases=tuple(leases[name] for name in chosen or leases), timeout=MINUTE
        )
        found.append(await provider.wait_for_cancellation(wait))

    async def cancel() -> None:
        nonlocal turn
        turn = await bench.keep(turn, cancel=("cancelled",))

    async def cancel_twice() -> None:
        nonlocal turn
        turn = await bench.keep(turn, cancel=("twice",))

    async def end() -> None:
        await bench.commit(ending, end=COMPLETED)

    await _named_when_it_ends(bench, waiting(), cancel)
    await _named_when_it_ends(bench, waiting("kept", "void"), end)
    expect_equal(found, [{leases["cancelled"]}, {leases["void"]}], "leases named as gone")
    found.clear()
    if provider.tells_of_changes:
        ended = await all_end_after(
            bench, (waiting("twice"), waiting("kept", "twice")), cancel_twice
        )
        expect(
            ended, "two calls of wait_for_cancellation waited for one lease, and not each has ended"
        )
        expect_equal(found, [{leases["twice"]}] * 2, "leases named as gone by two waits at once")
        found.clear()
    await provider.release_activity(ActivityRelease(lease=leases["released"]))
    await bench.complete(leased["done"])
    leases["unknown"] = ActivityLease(instance="alpha", activity="unknown", token="mine")
    leases["stranger"] = ActivityLease(instance="alpha", activity="kept", token="stranger")
    leases["absent"] = ActivityLease(instance="absent", activity="kept", token="mine")
    await provider.renew_activities([leases["kept"]], lease_for=timedelta(minutes=3))
    bench.advance(LEASE)
    taken = sorted(each.id for each in await bench.lease_work(token="other"))
    expect_equal(taken, ["released", "taken"], "leased by another")
    within = MINUTE / 2 if provider.tells_of_changes else MINUTE + STEP
    expect(await ends(bench, waiting(), within=within), "leases were gone before it, and it waits")
    expect_equal(found, [frozenset(leases.values()) - {leases["kept"]}], "leases named as gone")


async def _named_when_it_ends(
    bench: Bench, wait: Awaitable[object], change: Callable[[], Awaitable[object]]
) -> None:
    if bench.provider.tells_of_changes:
        ended = await ends_after(bench, wait, change)
    else:
        await change()
        ended = await ends(bench, wait, within=MINUTE + STEP)
    expect(ended, "a commit made a lease void, and wait_for_cancellation waits on")
