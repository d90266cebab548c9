"""RECOVER-7, RECOVER-9, RECOVER-13 and RECOVER-15: recovery at once with others, cancelled, and on a storage that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from perdure.contract import RECOVERY, InstanceState, InstanceStatus, LeasedTurn
from perdure.errors import HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench, FailedCall
from perdure_conformance.check import check
from perdure_conformance.clauses.failing_steps import fail_at_every_step
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    COMPLETED,
    LEASE,
    SECOND,
    delivered,
    event,
    reopening,
    result,
    termination,
    work,
)
from perdure_conformance.tampering import FAILING_STEPS

ROUNDS = 6


@check("RECOVER-7", since=(1, 1), needs=RECOVERY)
async def one_of_two_reopenings_wins(bench: Bench) -> None:
    """Of concurrent reopenings of one execution exactly one succeeds, and of a reopening and a commit one comes first."""
    other = await bench.open()
    for number in range(ROUNDS):
        await expect_one_reopening(bench, f"ended-{number}")
        turn = await bench.started(f"running-{number}")
        await expect_an_order(bench, turn, through=(bench.provider, other)[number % 2])


async def expect_one_reopening(bench: Bench, name: str) -> None:
    """Reopen an ended instance five times at once."""
    await bench.commit(await bench.started(name), events=(b"1",), end=COMPLETED)
    objects = (bench.provider, await bench.open())
    outcomes = await bench.all_of(
        objects[n % 2].reopen_instance(reopening(1, name, id=f"id-{n}")) for n in range(5)
    )
    won = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    expect_equal(len(won), 1, "reopenings that succeeded")
    refused = all(isinstance(error, HistoryConflict) for error in errors)
    expect(refused, f"the others failed with {errors}")
    state = await bench.state(name)
    expect_equal((state.execution, state.last_commit), (2, f"id-{won[0]}"), "the winner's marks")
    turn = await bench.take(name)
    expect_equal(delivered(turn), ["start-2"], "messages after reopenings at once")
    await bench.commit(turn, end=COMPLETED)


async def expect_an_order(bench: Bench, turn: LeasedTurn, *, through: object) -> None:
    """Reopen a running instance while its holder commits."""
    name = turn.state.instance
    first = through is bench.provider
    call = bench.provider.reopen_instance(reopening(1, name))
    commit = bench.commit(turn, id="commit", events=(b"1",), add=(work("job"),), keep_for=LEASE)
    calls: tuple[Awaitable[object], Awaitable[object]] = (call, commit)
    outcomes = await bench.all_of(calls if first else calls[::-1])
    reopened, committed = outcomes if first else outcomes[::-1]
    expect(not isinstance(reopened, BaseException), f"the reopening failed with {reopened!r}")
    if isinstance(committed, BaseException):
        expect(isinstance(committed, LeaseLost), f"the commit failed with {committed!r}")
    events = [each.data for each in await bench.history(name)]
    wanted = [] if isinstance(committed, BaseException) else [b"1"]
    expect_equal(events, wanted, "events of the execution that was left")
    state = await bench.state(name)
    expect_equal((state.execution, state.last_event), (2, 0), "execution and event")
    await bench.expect_no_work("the activity was that of the old execution")
    taken = await bench.take(name)
    expect_equal(delivered(taken), ["start-2"], "messages after a reopening and a commit at once")
    await bench.commit(taken, end=COMPLETED)


Prepare = Callable[[Bench, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A call that recovers an instance, and how to look at its effects."""

    what: str
    call: Callable[[Bench, str], Awaitable[object]]
    is_done: Callable[[InstanceState], bool]
    expect_once: Callable[[Bench, str, InstanceState, str], Awaitable[None]]


async def end(bench: Bench, name: str) -> None:
    """An instance that has ended, with what it did not take."""
    turn = await bench.with_activities(work("old"), instance=name)
    await bench.send(event("left", name), result("old result", name))
    await bench.commit(turn, events=(b"2",), remove=(), end=COMPLETED)


async def run(bench: Bench, name: str) -> None:
    """An instance that runs, with a turn and an activity under way."""
    await bench.with_activities(work("old"), instance=name)
    await bench.send(event("left", name), result("old result", name))
    await bench.take_work("old", token=f"worker of {name}")


def reopen(bench: Bench, name: str) -> Awaitable[None]:
    """Reopen the instance."""
    return bench.provider.reopen_instance(reopening(1, name, id=f"again {name}"))


def terminate(bench: Bench, name: str) -> Awaitable[bool]:
    """Terminate the instance, and tell a neighbour."""
    told = (event(f"from {name}", "neighbour"),)
    return bench.provider.terminate_instance(termination(name, id=f"end {name}", send=told))


def is_reopened(state: InstanceState) -> bool:
    """Whether the reopening took effect."""
    return state.execution == 2


def is_terminated(state: InstanceState) -> bool:
    """Whether the termination took effect."""
    return state.status is InstanceStatus.FAILED


@check("RECOVER-9", since=(1, 1), needs=RECOVERY)
async def a_cancelled_reopening_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a reopening is cancelled, all of it happened or nothing; repeated, it happens once."""
    for prepare in (end, run):
        for steps in range(12):
            name = f"{prepare.__name__} {steps}"
            await prepare(bench, name)
            before = await bench.state(name)
            bench.advance(SECOND)
            await bench.cancelled(reopen(bench, name), steps=steps)
            await expect_reopened_once(bench, name, before, f"a reopening of {name!r}, cancelled,")


@check("RECOVER-13", since=(1, 1), needs=RECOVERY)
async def a_cancelled_termination_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a termination is cancelled, all of it happened or nothing; repeated, it happens once."""
    await bench.commit(await bench.started("neighbour"))
    for steps in range(12):
        name = f"run {steps}"
        await run(bench, name)
        before = await bench.state(name)
        bench.advance(SECOND)
        await bench.cancelled(terminate(bench, name), steps=steps)
        await expect_terminated_once(bench, name, before, f"a termination of {name!r}, cancelled,")


@check("RECOVER-15", since=(1, 1), needs=RECOVERY, tampering=FAILING_STEPS)
async def recovery_that_fails_is_whole_or_nothing(bench: Bench) -> None:
    """If the storage fails at any step of a reopening or termination, all of it happened or nothing, and a repeat succeeds once."""
    await bench.commit(await bench.started("neighbour"))
    reopenings = Kind(
        what="a reopening", call=reopen, is_done=is_reopened, expect_once=expect_reopened_once
    )
    terminations = Kind(
        what="a termination",
        call=terminate,
        is_done=is_terminated,
        expect_once=expect_terminated_once,
    )
    for prepare, kind in ((end, reopenings), (run, reopenings), (run, terminations)):
        await fail_at_every_step(kind.what, partial(fail_and_look, bench, prepare, kind))


async def fail_and_look(bench: Bench, prepare: Prepare, kind: Kind, step: int) -> bool:
    """Let a step of a call fail, and look; returns whether the call had so many steps."""
    name = f"{prepare.__name__} {kind.what} {step}"
    await prepare(bench, name)
    before = await bench.state(name)
    bench.advance(SECOND)
    failed = await bench.failed(lambda: kind.call(bench, name), kind.what, step=step)
    what = f"{kind.what} whose step {step} failed"
    await expect_told(bench, name, failed, kind.is_done, what)
    await kind.expect_once(bench, name, before, what)
    return failed.reached


async def expect_told(
    bench: Bench,
    name: str,
    failed: FailedCall[object],
    is_done: Callable[[InstanceState], bool],
    what: str,
) -> None:
    """Complain if a call that had no effect was acknowledged."""
    if failed.error is None:
        expect(is_done(await bench.state(name)), f"{what} was acknowledged, and is lost")
        expect(failed.answer in (None, True), f"{what} answered {failed.answer}")


async def expect_reopened_once(bench: Bench, name: str, before: InstanceState, what: str) -> None:
    """Complain unless the reopening was whole or nothing; then repeat it and look at everything."""
    state = await bench.state(name)
    if not is_reopened(state):
        expect_equal(state, before, f"the state after {what} had no effect")
        await expect_old_leases(bench, name, before, what)
    await reopen(bench, name)
    state = await bench.state(name)
    expect_equal((state.execution, state.last_event), (2, 0), f"where {what} ended when repeated")
    ran = before.status is InstanceStatus.RUNNING
    turn = await bench.take(name)
    wanted = ["start-2", "left"] if ran else ["start-2"]
    expect_equal(delivered(turn), wanted, f"the mailbox after {what} was repeated")
    events = await bench.history(name)
    expect_equal(len(events), before.last_event, f"events of the execution that {what} left")
    await bench.expect_no_work(f"{what} was repeated, and the activity was that of the old one")
    await bench.commit(turn, end=COMPLETED)


async def expect_terminated_once(bench: Bench, name: str, before: InstanceState, what: str) -> None:
    """Complain unless the termination was whole or nothing; then repeat it and look at everything."""
    state = await bench.state(name)
    if not is_terminated(state):
        expect_equal(state, before, f"the state after {what} had no effect")
        await expect_old_leases(bench, name, before, what)
        await bench.expect_nothing_ready(f"{what} had no effect")
    expect(await terminate(bench, name), f"{what} answered False when it was repeated")
    state = await bench.state(name)
    found = (state.status, state.output, state.last_event)
    wanted = (InstanceStatus.FAILED, b"why", before.last_event + 1)
    expect_equal(found, wanted, f"status, output and events when {what} was repeated")
    expect_equal(len(await bench.history(name)), state.last_event, f"events after {what}")
    turn = await bench.take("neighbour")
    expect_equal(delivered(turn), [f"from {name}"], f"what {what} told a neighbour")
    await bench.commit(turn)
    await bench.expect_no_work(f"{what} was repeated, and the instance has ended")


async def expect_old_leases(bench: Bench, name: str, before: InstanceState, what: str) -> None:
    """Complain unless the activity of an instance that runs is leased as before."""
    if before.status is not InstanceStatus.RUNNING:
        await bench.expect_nothing_ready(f"{what} had no effect")
        return
    held = [each.id for each in await bench.lease_work(token=f"worker of {name}")]
    expect_equal(held, ["old"], f"activities that are held when {what} had no effect")
