"""VALUES: the custom status and the values of an instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from perdure.contract import (
    DELETION,
    RECOVERY,
    VALUES,
    InstanceState,
    LeasedTurn,
    TurnCommit,
    TurnRelease,
)
from perdure.errors import HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.failing_steps import fail_at_every_step
from perdure_conformance.clauses.texts import ODD
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    event,
    incarnation_of,
    new_instance,
    reopening,
    restart,
)
from perdure_conformance.tampering import FAILING_STEPS

LARGEST = 64 * 1024
"""The size of the largest value in bytes."""
MOST = 256
"""The number of keys that an instance may have."""


async def expect_values(
    bench: Bench, wanted: Mapping[str, bytes], when: str, *, instance: str = "alpha"
) -> None:
    """Complain unless these are the values, however they are read."""
    state = await bench.state(instance)
    expect_equal(state.value_count, len(wanted), f"the number of values {when}")
    for provider in (bench.provider, await bench.open()):
        found = await provider.read_values(instance)
        expect(found is not None, f"the values of {instance} cannot be read {when}")
        if found is not None:
            expect_equal(dict(found.values), dict(wanted), f"the values {when}")
            marks = (found.incarnation, found.last_commit)
            expect_equal(marks, (state.incarnation, state.last_commit), f"their commit {when}")


def status_of(state: InstanceState) -> tuple[bytes | None, int]:
    """The custom status and its version."""
    return state.custom_status, state.custom_status_version


@check("VALUES-1", since=(1, 1), needs=VALUES)
async def a_commit_sets_the_custom_status(bench: Bench) -> None:
    """A commit with a custom status sets it and raises its version by one; one without leaves both."""
    turn = await bench.started()
    expect_equal(status_of(turn.state), (None, 0), "the custom status before the first")
    turn = await bench.keep(turn, custom_status=b"one")
    expect_equal(status_of(turn.state), (b"one", 1), "after the first")
    turn = await bench.keep(turn, events=(b"1",))
    expect_equal(status_of(turn.state), (b"one", 1), "after a commit without one")
    turn = await bench.keep(turn, custom_status=b"one")
    expect_equal(status_of(turn.state), (b"one", 2), "after the same once more")
    turn = await bench.keep(turn, custom_status=b"")
    expect_equal(status_of(turn.state), (b"", 3), "after an empty one")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    expect_equal(status_of(turn.state), (b"", 3), "in the next execution")
    await bench.commit(turn, remove=(), custom_status=bytes(range(256)) * 64)
    large = (bytes(range(256)) * 64, 4)
    leased = await bench.take(provider=await bench.open())
    expect_equal(status_of(leased.state), large, "with a turn")
    await bench.provider.release_turn(TurnRelease(lease=held_by(leased)))
    expect_equal(status_of(await bench.state()), large, "after a release")
    turn = await bench.take()
    await bench.commit(turn, custom_status=b"last", end=COMPLETED)
    expect_equal(status_of(await bench.state()), (b"last", 5), "after an end that sets one")
    if RECOVERY in bench.backend.declaration.capabilities:
        await bench.provider.reopen_instance(reopening(2))
        expect_equal(status_of(await bench.state()), (b"last", 5), "after a reopening")


@check("VALUES-2", since=(1, 1), needs=VALUES)
async def a_commit_sets_values(bench: Bench) -> None:
    """A commit sets and deletes the values that it names, the others stay, and they outlive the execution and the end."""
    turn = await bench.started()
    await expect_values(bench, {}, "before the first")
    turn = await bench.keep(turn, values={"a": b"1", "b": b"", "c": b"3"})
    await expect_values(bench, {"a": b"1", "b": b"", "c": b"3"}, "after the first")
    turn = await bench.keep(turn, values={"b": b"2", "c": None, "d": None, "e": b"5"})
    left = {"a": b"1", "b": b"2", "e": b"5"}
    await expect_values(bench, left, "after changes")
    turn = await bench.keep(turn, events=(b"1",))
    await expect_values(bench, left, "after a commit without values")
    for keys, wanted in (
        (frozenset({"a", "c", "z"}), {"a": b"1"}),
        (frozenset({"z"}), {}),
        (frozenset[str](), {}),
    ):
        found = await bench.provider.read_values("alpha", keys=keys)
        values = None if found is None else dict(found.values)
        expect_equal(values, wanted, f"the values of the keys {sorted(keys)}")
    expect_equal(await bench.provider.read_values("absent"), None, "values of an absent instance")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),), values={"f": b"6"})
    left["f"] = b"6"
    await expect_values(bench, left, "in the next execution")
    await bench.commit(turn, values={"a": None, "g": b"7"}, end=COMPLETED)
    del left["a"]
    left["g"] = b"7"
    await expect_values(bench, left, "after the end")
    if RECOVERY in bench.backend.declaration.capabilities:
        await bench.provider.reopen_instance(reopening(2))
        await expect_values(bench, left, "after a reopening")
        await bench.commit(await bench.take(), end=COMPLETED)
    if DELETION in bench.backend.declaration.capabilities:
        await bench.provider.delete_instance("alpha", incarnation=incarnation_of("alpha"))
        expect_equal(await bench.provider.read_values("alpha"), None, "values after a deletion")
        await bench.create(new_instance(incarnation="new"))
        await expect_values(bench, {}, "of the instance that came next")


@check("VALUES-3", since=(1, 1), needs=VALUES)
async def keys_and_values_are_kept_exactly(bench: Bench) -> None:
    """Keys with any characters are kept apart, values are any bytes up to 64 KiB, and one commit sets or deletes 256."""
    turn = await bench.started()
    odd = {key: b"%d" % number for number, key in enumerate(ODD)}
    turn = await bench.keep(turn, values=odd)
    await expect_values(bench, odd, "with odd keys")
    for key in ODD:
        found = await bench.provider.read_values("alpha", keys=frozenset({key}))
        values = None if found is None else dict(found.values)
        expect_equal(values, {key: odd[key]}, f"the value of {key!r} alone")
    turn = await bench.keep(turn, values=dict.fromkeys(ODD))
    await expect_values(bench, {}, "after odd keys were deleted")
    large = bytes(range(256)) * (LARGEST // 256)
    many = {f"key {number}": large[number:] + large[:number] for number in range(8)}
    turn = await bench.keep(turn, values=many)
    await expect_values(bench, many, "of the largest size")
    turn = await bench.keep(turn, values=dict.fromkeys(many))
    full = {f"key {number}": b"%d" % number for number in range(MOST)}
    turn = await bench.keep(turn, values=full)
    await expect_values(bench, full, "with 256 keys")
    turn = await bench.keep(turn, values=dict.fromkeys(full))
    await expect_values(bench, {}, "after 256 keys were deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A commit that sets a status and values, and what is there before it."""

    turn: LeasedTurn
    commit: TurnCommit

    @property
    def name(self) -> str:
        """The id of the instance."""
        return self.commit.instance


BEFORE = {"kept": b"1", "changed": b"2", "deleted": b"3"}
AFTER = {"kept": b"1", "changed": b"new", "added": b"4"}


async def drafted(bench: Bench, name: str) -> Draft:
    """A commit that changes the status and the values of a new instance."""
    turn = await bench.started(name)
    turn = await bench.keep(turn, events=(b"1",), custom_status=b"before", values=BEFORE)
    commit = bench.draft(
        turn,
        id=f"commit of {name}",
        events=(b"2",),
        custom_status=b"after",
        values={"changed": b"new", "deleted": None, "added": b"4"},
        keep_for=LEASE,
    )
    return Draft(turn=turn, commit=commit)


async def expect_either(bench: Bench, draft: Draft, what: str) -> bool:
    """Complain unless the commit happened as a whole or not at all; returns whether it did."""
    state = await bench.state(draft.name)
    happened = state.last_commit == draft.commit.id
    events, values = (2, AFTER) if happened else (1, BEFORE)
    expect_equal(state.last_event, events, f"events after {what}")
    await expect_values(bench, values, f"after {what}", instance=draft.name)
    wanted = (b"after", 2) if happened else (b"before", 1)
    expect_equal(status_of(state), wanted, f"the custom status after {what}")
    return happened


async def expect_once(bench: Bench, draft: Draft, what: str) -> None:
    """Complain unless the commit was whole or nothing, and a repeat takes effect once."""
    await expect_either(bench, draft, what)
    for _ in range(2):
        await bench.provider.commit_turn(draft.commit)
        happened = await expect_either(bench, draft, f"a repeat of {what}")
        expect(happened, f"a repeat of {what} is lost")
    await bench.commit(replace(draft.turn, state=await bench.state(draft.name)), end=COMPLETED)


@check("VALUES-4", since=(1, 1), needs=VALUES)
async def status_and_values_go_with_their_commit(bench: Bench) -> None:
    """A refused commit changes neither status nor values, a repeat changes them once, and a cancelled one is whole or nothing."""
    draft = await drafted(bench, "refused")
    for refused_as, fields in ((LeaseLost, "token"), (HistoryConflict, "expected_event")):
        value = "another" if fields == "token" else 7
        with expect_refusal(refused_as, "a commit of a status and values"):
            await bench.provider.commit_turn(replace(draft.commit, **{fields: value}))
        happened = await expect_either(bench, draft, "a refused commit")
        expect(not happened, "a refused commit happened")
    await expect_once(bench, draft, "a refused commit")
    for steps in range(16):
        draft = await drafted(bench, f"cancelled {steps}")
        await bench.cancelled(bench.provider.commit_turn(draft.commit), steps=steps)
        await expect_once(bench, draft, f"a commit that was cancelled after {steps} steps")


@check("VALUES-5", since=(1, 1), needs=VALUES)
async def instances_have_values_of_their_own(bench: Bench) -> None:
    """The status and the values of one instance, or of one namespace, are not those of another."""
    names = ("alpha", "alpha#a", "a", "a#alpha")
    there = await bench.open(namespace=bench.namespace + "-x")
    await there.create_instance(new_instance())
    for name in names:
        turn = await bench.started(name)
        values = {"a": name.encode(), f"{name}#a": b"own"}
        await bench.commit(turn, custom_status=name.encode(), values=values)
    for name in names:
        values = {"a": name.encode(), f"{name}#a": b"own"}
        await expect_values(bench, values, f"of {name}", instance=name)
        found = status_of(await bench.state(name))
        expect_equal(found, (name.encode(), 1), f"the custom status of {name}")
    await bench.send(event("more"))
    await bench.commit(await bench.take(), values={"a": None})
    values = {"a": b"a", "a#a": b"own"}
    await expect_values(bench, values, "after a deletion in another instance", instance="a")
    state = await bench.state(provider=there)
    expect_equal((*status_of(state), state.value_count), (None, 0, 0), "in another namespace")
    found = await there.read_values("alpha")
    expect_equal(None if found is None else dict(found.values), {}, "values there")


@check("VALUES-6", since=(1, 1), needs=VALUES, tampering=FAILING_STEPS)
async def status_and_values_survive_a_failing_storage(bench: Bench) -> None:
    """If the storage fails at any step of a commit, its status and values are there with all of it, or not at all."""
    await fail_at_every_step("a commit", partial(fail_and_look, bench))


async def fail_and_look(bench: Bench, step: int) -> bool:
    """Let a step of a commit fail, and look; returns whether the commit had so many steps."""
    draft = await drafted(bench, f"failed {step}")
    bench.advance(SECOND)
    failed = await bench.failed(
        lambda: bench.provider.commit_turn(draft.commit), "a commit", step=step
    )
    what = f"a commit whose step {step} failed"
    if failed.error is None:
        happened = await expect_either(bench, draft, what)
        expect(happened, f"{what} was acknowledged, and is lost")
    await expect_once(bench, draft, what)
    return failed.reached
