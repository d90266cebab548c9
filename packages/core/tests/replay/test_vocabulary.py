"""Each word of asyncio's vocabulary, live, after a crash and after an eviction, in many orders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import vocabulary
from .driver import World, play, play_everywhere
from .fingerprints import fingerprints
from .vocabulary import words

PROGRAMS = [definition.name for definition in words.orchestrations()]
IN_ORDER = {
    "gather": ["A", "B", "C"],
    "gather_with_errors": ["str", "ActivityFailed", "str"],
    "gather_that_fails": ["ActivityFailed", "a"],
    "wait_for_the_first": ["aA", "bB", "cC", "cancel e", "cancel d", "cancel f"],
    "wait_with_timeout": [3, 3, 0],
    "wait_until_one_fails": "3 ActivityFailed",
    "wait_for": "SLOW",
    "as_completed": ["A", "B", "C", "D"],
    "as_completed_of_futures": ["B", "D", "A", "C"],
    "task_group": ["A", "B", "C"],
    "timeout": ["A", "B"],
    "timeout_around_a_group": "in time",
    "sleep": [1.0, 1.0],
    "shield": ["IMPORTANT", "IMPORTANT"],
    "event": ["OPEN", "A", "B"],
    "lock": ["in a", "out a", "in b", "out b", "in c", "out c"],
    "semaphore": ["A", "B", "C", "D", "E", "2"],
    "condition": ["1A", "2B", "3C"],
    "barrier": [0, 1, 2],
    "queue": ["xA", "yB", "zC", "xD", "yE", "zF", "xG"],
    "priority_queue": ["C", "B", "A"],
    "create_task": ["BBB", "AAAAAAA", "first"],
    "context_variables": ["none", "maina", "mainb", "main"],
    "callbacks": ["soon", "later"],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_writes_the_same_history_live_cold_and_evicted(name: str) -> None:
    worlds = play_everywhere(lambda mode: World(app=words, name=name, restart=mode), orders=8)

    assert all(world.ended for world in worlds)
    assert all(type(world.terminal).__name__ == "OrchestrationCompleted" for world in worlds)


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_of_cancelled_work_that_come_late_change_nothing(name: str) -> None:
    play_everywhere(
        lambda mode: World(app=words, name=name, restart=mode, keeps_late=True), orders=5
    )


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_program_does_what_it_does_under_asyncio(name: str) -> None:
    world = play(World(app=words, name=name))

    assert json.loads(world.output) == IN_ORDER[name]


def test_all_words_of_the_design_have_a_program() -> None:
    promised = (
        "gather wait wait_for as_completed task_group timeout sleep shield event lock semaphore"
        " condition queue create_task cancellation async_generators context_variables"
    )

    for word in promised.split():
        assert any(name.startswith(word) for name in PROGRAMS), word


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "1", "7919"])
def test_histories_do_not_depend_on_the_hash_seed_of_the_process(hash_seed: str) -> None:
    tests = Path(__file__).parent.parent
    other = subprocess.run(
        [sys.executable, "-m", "replay.fingerprints"],
        cwd=tests,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(other.stdout) == fingerprints()


def test_context_variables_of_the_host_do_not_reach_an_orchestration() -> None:
    token = vocabulary.request.set("host")
    try:
        world = play(World(app=words, name="context_variables"))
    finally:
        vocabulary.request.reset(token)

    assert json.loads(world.output)[0] == "none"
