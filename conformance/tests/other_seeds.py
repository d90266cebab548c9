"""MODEL-1 and RACE-1 with other seeds than the suite's, on every storage of this repository.

`nox -s seeds` runs this file; the tests of every change play the suite's own seeds. A failure names
its seed, and `PERDURE_SEED` takes the run there again.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest
from perdure_conformance.backend import find_backend
from perdure_conformance.check import check
from perdure_conformance.clauses.model_and_races import race
from perdure_conformance.comparison.state_machine import compare_with_model
from perdure_conformance.runner import Outcome, judge
from perdure_dynamodb.testing.model import ModelCalls
from perdure_dynamodb.testing.model_backend import ModelBackend

FIRST = int(os.environ.get("PERDURE_SEED", "0"))
COUNT = int(os.environ.get("PERDURE_SEEDS", "1"))
SHARES = {"memory": 1, "sqlite": 1, "dynamodb-model": 1, "postgresql": 2, "dynamodb": 10}
"""One in so many seeds is played on a storage: fewer where each call takes longer."""
CASES = [
    (storage, FIRST + number)
    for storage, share in SHARES.items()
    for number in range(0, COUNT, share)
]


@pytest.fixture
def backend(request, storage, tmp_path):
    """A storage of this name."""
    if storage == "dynamodb-model":
        return ModelBackend(ModelCalls(), shards=4)
    if storage == "postgresql":
        return find_backend(request.getfixturevalue("postgres_url"))
    if storage == "dynamodb":
        return find_backend(f"{request.getfixturevalue('dynamodb_url')}&shards=1")
    return find_backend({"memory": "memory://seeds", "sqlite": f"sqlite:///{tmp_path}/db"}[storage])


@check("MODEL-1")
async def model(bench, *, seed):
    """As the check of this id, with another seed."""
    await compare_with_model(bench.backend, seed=seed)


@check("RACE-1")
async def racing(bench, *, seed):
    """As the check of this id, with another seed."""
    await race(bench, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "seed"), CASES)
@pytest.mark.parametrize("played", [model, racing], ids=lambda played: played.id)
def test_a_check_passes_with_another_seed(played, backend, storage, seed):
    again = f"PERDURE_SEED={seed} nox -s seeds -- 1"

    result = judge(replace(played, run=partial(played.run, seed=seed)), backend)

    assert result.outcome is Outcome.PASSED, (
        f"{played.id} on {storage} with seed {seed} (again: {again}):\n{result.message}"
    )
