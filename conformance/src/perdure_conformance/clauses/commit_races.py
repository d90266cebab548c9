"""COMMIT-26 and COMMIT-27: commits at once."""

from __future__ import annotations

from perdure.errors import HistoryConflict, LeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, delivered, event, work


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
