"""COMMIT-25 to COMMIT-27: commits that are cancelled, and commits at once."""

from __future__ import annotations

from perdure.contract import (
    NewChild,
)
from perdure.errors import HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import COMPLETED, LEASE, delivered, event, new_instance, work


@check("COMMIT-25")
async def a_cancelled_commit_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a commit is cancelled, all of it happened or nothing."""
    for steps in range(16):
        name = f"i-{steps:02}"
        turn = await bench.with_activities(work("old"), instance=name)
        await bench.send(event("read", name))
        old = (await bench.lease_work())[0]
        commit = bench.commit(
            turn,
            events=(b"2",),
            remove=("read",),
            finish=(old.lease,),
            add=(work("new"),),
            send=(event("sent", f"{name}-child"),),
            create=(NewChild(instance=new_instance(f"{name}-child")),),
        )
        await bench.cancelled(commit, steps=steps)
        happened = (await bench.state(name)).last_event == 2
        await expect_whole(bench, name, old.token, happened=happened)


async def expect_whole(bench: Bench, name: str, token: str, *, happened: bool) -> None:
    """Complain unless each effect of the cancelled commit is there, or none."""
    said = f"cancelled commit that {'took' if happened else 'took no'} effect"
    events = len(await bench.history(name))
    expect_equal(events, 2 if happened else 1, f"events after a {said}")
    child = await bench.provider.read_instance(f"{name}-child")
    expect_equal(child is not None, happened, f"child after a {said}")
    found = [each.id for each in await bench.lease_work()]
    expect_equal(found, ["new"] if happened else [], f"activities added by a {said}")
    held = await bench.lease_work(token=token)
    expect_equal([e.id for e in held], [] if happened else ["old"], f"activity left by a {said}")
    bench.advance(LEASE)
    ready = {turn.state.instance: turn for turn in await bench.lease()}
    boxes = {instance: delivered(turn) for instance, turn in ready.items()}
    wanted = {f"{name}-child": ["start", "sent"]} if happened else {name: ["read"]}
    expect_equal(boxes, wanted, f"mailboxes after a {said}")
    await bench.all_well(bench.commit(turn, end=COMPLETED) for turn in ready.values())
    if happened:
        await bench.send(event("over", name))
        await bench.commit(await bench.take(name), end=COMPLETED)


@check("COMMIT-26")
async def concurrent_commits_are_independent(bench: Bench) -> None:
    """Of many concurrent commits the valid ones succeed and the others are refused."""
    names = [f"i-{n:02}" for n in range(24)]
    await bench.all_well(bench.create(name) for name in names)
    turns = sorted(await bench.lease(), key=lambda turn: turn.state.instance)
    wrong = {n for n in range(24) if n % 3 == 1}
    outcomes = await bench.all_of(
        bench.commit(
            turn,
            events=(b"1",),
            expected_event=7 if n in wrong else 0,
            send=(event(f"from-{n}", names[(n + 1) % 24]),),
        )
        for n, turn in enumerate(turns)
    )
    for n, outcome in enumerate(outcomes):
        kind = HistoryConflict if n in wrong else None
        found = type(outcome) if isinstance(outcome, BaseException) else None
        expect_equal(found, kind, f"outcome of commit {n}")
        state = await bench.state(names[n])
        expect_equal(state.last_event, 0 if n in wrong else 1, f"events of instance {n}")
    bench.advance(LEASE)
    for turn in await bench.lease():
        n = names.index(turn.state.instance)
        sender = (n - 1) % 24
        expect_equal(
            f"from-{sender}" in delivered(turn), sender not in wrong, f"message of {sender}"
        )


@check("COMMIT-27")
async def one_of_two_commits_wins(bench: Bench) -> None:
    """Of concurrent commits of one turn exactly one succeeds, and only it has effects."""
    other = await bench.open()
    for round_ in range(6):
        name = f"i-{round_}"
        turn = await bench.started(name)
        drafts = [
            bench.draft(
                turn, id=f"{name}-{n}", events=(b"%d" % n,), add=(work(f"job-{n}"),), keep_for=LEASE
            )
            for n in range(6)
        ]
        objects = (bench.provider, other)
        outcomes = await bench.all_of(
            objects[n % 2].commit_turn(draft) for n, draft in enumerate(drafts)
        )
        won = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        expect_equal(len(won), 1, "commits that succeeded")
        refused = all(isinstance(error, LeaseLost | HistoryConflict) for error in errors)
        expect(refused, f"the others failed with {errors}")
        expect_equal([e.data for e in await bench.history(name)], [b"%d" % won[0]], "the history")
        found = [each.id for each in await bench.lease_work()]
        expect_equal(found, [f"job-{won[0]}"], "activities")
        expect_equal((await bench.state(name)).last_commit, f"{name}-{won[0]}", "last commit")
