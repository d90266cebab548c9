"""Pytest fixtures: the URL of a PostgreSQL, started once for the whole run.

Use them with `from perdure_postgres.testing.fixtures import postgres_url` in a `conftest.py`. Where
`PERDURE_TEST_POSTGRES_URL` is set, that server is used. The workers of pytest-xdist share one server:
the first that needs it starts it, and the last stops it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from perdure_postgres import local

URL = "PERDURE_TEST_POSTGRES_URL"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Generator[str]:
    """The URL of a server; skips where none can be had, but fails in CI."""
    given = os.environ.get(URL)
    if given:
        yield given
        return
    home = tmp_path_factory.getbasetemp()
    home = home if worker_id == "master" else home.parent
    # Another user runs the server, and the path of its socket must be short.
    name = f"perdure-postgres-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
    started = local.running(Path(tempfile.gettempdir(), name), quick=True, keep=False)
    try:
        url = started.__enter__()
    except local.LocalUnavailable as error:
        why = f"no PostgreSQL to test with: {error}, or set {URL}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    try:
        yield url
    finally:
        started.__exit__(None, None, None)
