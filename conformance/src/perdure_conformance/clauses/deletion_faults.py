"""DELETE-11 and DELETE-12: deletions that are cancelled, and deletions on a storage that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from perdure.contract import DELETION, InstanceState, InstanceStatus, StoredEvent
from perdure.errors import ExecutionNotFound, InstanceNotFound

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.failing_steps import fail_at_every_step
from perdure_conformance.clauses.replacements import MANY, replacement
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    SECOND,
    event,
    incarnation_of,
    new_instance,
    restart,
    work,
)
from perdure_conformance.tampering import FAILING_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An instance with all of its histories, before a deletion."""

    state: InstanceState
    histories: tuple[list[StoredEvent], ...]
    """By execution, from the first on."""

    @property
    def name(self) -> str:
        """The id of the instance."""
        return self.state.instance


async def whole(bench: Bench, name: str) -> Whole:
    """An instance with three executions that has ended, with messages and activities left."""
    turn = await bench.started(name)
    events = tuple(b"%d" % number for number in range(MANY))
    for number in (2, 3):
        turn = await bench.keep(turn, events=events, end=AGAIN, front=(restart(number, name),))
    turn = await bench.keep(turn, events=events, add=(work("left"),))
    await bench.send(event("left", name))
    await bench.commit(turn, remove=(), events=(b"last",), end=COMPLETED)
    histories = [await bench.history(name, execution) for execution in (1, 2, 3)]
    return Whole(state=await bench.state(name), histories=tuple(histories))


def delete(bench: Bench, name: str) -> Awaitable[bool]:
    """Delete the instance."""
    return bench.provider.delete_instance(name, incarnation=incarnation_of(name))


def prune(bench: Bench, name: str) -> Awaitable[int]:
    """Delete its first two executions."""
    return bench.provider.prune_executions(name, incarnation=incarnation_of(name), before=3)


def put_in_its_place(bench: Bench, name: str) -> Awaitable[None]:
    """Replace the instance."""
    new = replacement("new", replaces=incarnation_of(name), instance=name)
    return bench.provider.create_instance(new)


async def expect_deleted_once(bench: Bench, before: Whole, what: str) -> None:
    """Complain unless the instance is there whole or not at all; then delete it and create another."""
    there = await bench.provider.read_instance(before.name)
    if there is None:
        await expect_gone(bench, before.name, what)
    else:
        await expect_there(bench, before, what)
    expect_equal(await delete(bench, before.name), there is not None, f"a repeat of {what}")
    expect_equal(await bench.provider.read_instance(before.name), None, f"it, after {what}")
    await expect_gone(bench, before.name, what)
    await bench.create(new_instance(before.name, incarnation="new"))
    await expect_new(bench, before.name, what)


async def expect_replaced_once(bench: Bench, before: Whole, what: str) -> None:
    """Complain unless either instance is there whole; then repeat it and look at the new one."""
    state = await bench.state(before.name)
    if state.incarnation == before.state.incarnation:
        await expect_there(bench, before, what)
    await put_in_its_place(bench, before.name)
    await expect_new(bench, before.name, what)


async def expect_pruned_once(bench: Bench, before: Whole, what: str) -> None:
    """Complain unless each execution is there whole or not at all; then prune again."""
    expect_equal(await bench.state(before.name), before.state, f"the state after {what}")
    left = await executions_left(bench, before.name)
    for execution in left:
        found = await bench.history(before.name, execution)
        wanted = before.histories[execution - 1]
        expect_equal(found, wanted, f"the history of execution {execution} after {what}")
    deleted = await prune(bench, before.name)
    expect_equal(deleted, len(left), f"executions that a repeat of {what} deleted")
    left = await executions_left(bench, before.name)
    expect_equal(left, [], f"executions that can be read after a repeat of {what}")
    found = await bench.history(before.name, 3)
    expect_equal(found, before.histories[2], f"the history of the last execution after {what}")


async def expect_there(bench: Bench, before: Whole, what: str) -> None:
    """Complain unless the instance is as it was."""
    expect_equal(await bench.state(before.name), before.state, f"the state after {what}")
    for execution, wanted in enumerate(before.histories, 1):
        found = await bench.history(before.name, execution)
        expect_equal(found, wanted, f"the history of execution {execution} after {what}")
    await bench.expect_nothing_ready(f"{what} had no effect")


async def expect_gone(bench: Bench, name: str, what: str) -> None:
    """Complain if anything of the instance can be seen."""
    for execution in (1, 2, 3):
        try:
            await bench.history(name, execution)
        except InstanceNotFound:
            continue
        expect(False, f"execution {execution} can be read after {what}")
    await bench.expect_nothing_ready(f"{what} had its effect")
    await bench.expect_no_work(f"{what} had its effect")


async def expect_new(bench: Bench, name: str, what: str) -> None:
    """Complain unless the new instance has its start and nothing else."""
    turn = await bench.take(name)
    found = (turn.state.incarnation, turn.state.execution, turn.state.last_event, turn.attempt)
    expect_equal(found, ("new", 1, 0, 1), f"the instance with the id after {what}")
    expect_equal([m.id for m in turn.messages], ["start"], f"its messages after {what}")
    expect_equal(await bench.history(name, incarnation="new"), [], f"its history after {what}")
    await bench.expect_no_work(f"{what} left an activity")
    turn = await bench.keep(turn, events=(b"new",))
    await bench.commit(turn, events=(b"end",), end=COMPLETED)
    events = [each.data for each in await bench.history(name, incarnation="new")]
    expect_equal(events, [b"new", b"end"], f"the history of the new instance after {what}")
    state = await bench.state(name)
    expect_equal((state.status, state.last_event), (InstanceStatus.COMPLETED, 2), "its end")


async def is_deleted(bench: Bench, before: Whole) -> bool:
    """Whether the instance is gone."""
    return await bench.provider.read_instance(before.name) is None


async def is_replaced(bench: Bench, before: Whole) -> bool:
    """Whether another instance has the id."""
    return (await bench.state(before.name)).incarnation != before.state.incarnation


async def is_pruned(bench: Bench, before: Whole) -> bool:
    """Whether the first two executions are gone."""
    return await executions_left(bench, before.name) == []


async def executions_left(bench: Bench, name: str) -> list[int]:
    """The first two executions, as far as they can be read."""
    left: list[int] = []
    for execution in (1, 2):
        with contextlib.suppress(ExecutionNotFound):
            await bench.history(name, execution)
            left.append(execution)
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A call that deletes something, and how to look at its effects."""

    what: str
    call: Callable[[Bench, str], Awaitable[object]]
    is_done: Callable[[Bench, Whole], Awaitable[bool]]
    expect_once: Callable[[Bench, Whole, str], Awaitable[None]]


KINDS = (
    Kind(what="a deletion", call=delete, is_done=is_deleted, expect_once=expect_deleted_once),
    Kind(what="a pruning", call=prune, is_done=is_pruned, expect_once=expect_pruned_once),
    Kind(
        what="a replacement",
        call=put_in_its_place,
        is_done=is_replaced,
        expect_once=expect_replaced_once,
    ),
)


@check("DELETE-11", since=(1, 1), needs=DELETION)
async def a_cancelled_deletion_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a deletion is cancelled, readers see the instance whole or not at all, and a repeat succeeds."""
    for kind in KINDS:
        for steps in range(12):
            before = await whole(bench, f"{kind.what} {steps}")
            bench.advance(SECOND)
            await bench.cancelled(kind.call(bench, before.name), steps=steps)
            what = f"{kind.what} that was cancelled after {steps} steps"
            await kind.expect_once(bench, before, what)


@check("DELETE-12", since=(1, 1), needs=DELETION, tampering=FAILING_STEPS)
async def a_deletion_that_fails_is_whole_or_nothing(bench: Bench) -> None:
    """If the storage fails at any step of a deletion, readers see the instance whole or not at all, and a repeat succeeds."""
    for kind in KINDS:
        await fail_at_every_step(kind.what, partial(fail_and_look, bench, kind))


async def fail_and_look(bench: Bench, kind: Kind, step: int) -> bool:
    """Let a step of a call fail, and look; returns whether the call had so many steps."""
    before = await whole(bench, f"{kind.what} {step}")
    bench.advance(SECOND)
    failed = await bench.failed(lambda: kind.call(bench, before.name), kind.what, step=step)
    what = f"{kind.what} whose step {step} failed"
    if failed.error is None:
        done = await kind.is_done(bench, before)
        expect(done, f"{what} was acknowledged, and had no effect")
    await kind.expect_once(bench, before, what)
    return failed.reached
