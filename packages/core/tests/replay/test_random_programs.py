"""Random programs must come to the same live, rebuilt cold and rebuilt after an eviction.

`PERDURE_PROGRAMS` sets how many are played (60 unless set; a session of its own plays
20,000), `PERDURE_FIRST_SEED` the first seed. A failure names its seed:
`random_programs.check(seed)` plays it again.
"""

from __future__ import annotations

import gc
import os
import random

import pytest
from perdure.replay.execution import Execution
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.turn import TurnDraft

from .random_programs import check, check_patching, check_rewinding

COUNT = int(os.environ.get("PERDURE_PROGRAMS", "60"))
FIRST = int(os.environ.get("PERDURE_FIRST_SEED", "0"))
BLOCK = 100


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, BLOCK))
def test_random_programs_replay_alike(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + COUNT)):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, BLOCK))
def test_programs_that_are_rewound_replay_alike(first: int) -> None:
    kept = [check_rewinding(seed) for seed in range(first, min(first + BLOCK, FIRST + COUNT))]

    assert sum(kept) > len(kept)


@pytest.mark.slow
def test_programs_that_get_patches_while_they_run_replay_alike() -> None:
    applied = [check_patching(seed) for seed in range(FIRST, FIRST + COUNT)]

    assert sum(map(bool, applied)) >= COUNT / 30


@pytest.mark.slow
def test_the_comparison_finds_sets_that_are_ordered_by_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = random.Random(7)
    monkeypatch.setattr(OrchestrationLoop, "next_hash", lambda _: stream.getrandbits(60))

    assert count_differences(60)


@pytest.mark.slow
# Executions that were never run leave coroutines that were never awaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_comparison_finds_results_that_are_delivered_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, take = OrchestrationLoop.run_until_quiet, Execution.take_turn
    monkeypatch.setattr(
        OrchestrationLoop,
        "run_until_quiet",
        lambda loop, most: run(loop, most) if loop.is_silent else None,
    )

    def run_and_take(execution: Execution) -> TurnDraft:
        run(execution.loop)
        return take(execution)

    monkeypatch.setattr(Execution, "take_turn", run_and_take)

    assert count_differences(60)
    gc.collect()  # here, and not in a later test


def count_differences(programs: int) -> int:
    differing = 0
    for seed in range(programs):
        try:
            check(seed)
        except Exception:  # noqa: BLE001 # a difference shows in many ways
            differing += 1
    return differing
