"""Pytest fixtures: the endpoint of a DynamoDB Local, started once for the whole run.

Use them with `from perdure_dynamodb.testing.fixtures import dynamodb_endpoint` in a `conftest.py`.
Where `PERDURE_TEST_DYNAMODB_ENDPOINT` is set, that endpoint is used. The workers of pytest-xdist
share one process: the first that needs it starts it, and stops it when the others are done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure_dynamodb import local

ENDPOINT = "PERDURE_TEST_DYNAMODB_ENDPOINT"


@pytest.fixture(scope="session")
def dynamodb_endpoint(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Generator[str]:
    """Where a DynamoDB Local answers; skips where none can be had, but fails in CI."""
    with _endpoint(tmp_path_factory, worker_id) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def dynamodb_url(dynamodb_endpoint: str) -> str:
    """The URL of a table that is created when it is first opened."""
    return local.url_of(dynamodb_endpoint, "PerdureTests")


@contextmanager
def _endpoint(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Generator[str]:
    given = os.environ.get(ENDPOINT)
    if given:
        yield given
        return
    alone = worker_id == "master" or sys.platform == "win32"
    started = local.running() if alone else _shared(tmp_path_factory.getbasetemp().parent)
    try:
        endpoint = started.__enter__()
    except local.LocalUnavailable as error:
        why = f"no DynamoDB to test with: {error}, or set {ENDPOINT}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    try:
        yield endpoint
    finally:
        started.__exit__(None, None, None)


@contextmanager
def _shared(folder: Path) -> Generator[str]:
    """One process for all workers; the worker that started it waits until no other uses it."""
    if sys.platform == "win32":
        raise AssertionError("locks of files work differently here")
    import fcntl

    note = folder / "dynamodb-endpoint"
    with (
        (folder / "dynamodb-gate").open("w") as gate,
        (folder / "dynamodb-users").open("w") as users,
    ):
        fcntl.flock(gate, fcntl.LOCK_EX)
        if note.exists():
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield note.read_text(encoding="utf-8")
            return
        with local.running() as endpoint:
            note.write_text(endpoint, encoding="utf-8")
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield endpoint
            while True:
                fcntl.flock(gate, fcntl.LOCK_EX)
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    fcntl.flock(gate, fcntl.LOCK_UN)
                    time.sleep(0.2)
                else:
                    break
            note.unlink()
