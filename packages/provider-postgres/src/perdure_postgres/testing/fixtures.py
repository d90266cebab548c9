"""Pytest fixtures: the URL of a PostgreSQL, started once for the whole run.

Use them with `from perdure_postgres.testing.fixtures import postgres_url` in a `conftest.py`. Where
`PERDURE_TEST_POSTGRES_URL` is set, that server is used. The workers of pytest-xdist share one server:
the first that needs it starts it, and the last stops it. `PERDURE_TEST_POSTGRES_PROGRAMS` names the
folder with the programs of another PostgreSQL than the one that is installed with the extra `local`.
With `PERDURE_TEST_POSTGRES_VERSION`, such as 14, the tests fail on a server of another major version.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from perdure.contract import ProviderUrl

from perdure_postgres import local
from perdure_postgres._options import PostgresOptions

URL = "PERDURE_TEST_POSTGRES_URL"
PROGRAMS = "PERDURE_TEST_POSTGRES_PROGRAMS"
VERSION = "PERDURE_TEST_POSTGRES_VERSION"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Generator[str]:
    """The URL of a server; skips where none can be had, but fails in CI."""
    given = os.environ.get(URL)
    if given:
        _check_version(given)
        yield given
        return
    home = tmp_path_factory.getbasetemp()
    home = home if worker_id == "master" else home.parent
    with started_for(home) as server:
        yield server.url


@contextmanager
def started_for(home: Path) -> Generator[local.LocalServer]:
    """A server for the tests that share this folder; skips where none can be had, but fails in CI."""
    # Another user runs the server, and the path of its socket must be short.
    name = f"perdure-postgres-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
    programs = os.environ.get(PROGRAMS)
    started = local.running_server(
        Path(tempfile.gettempdir(), name),
        quick=True,
        keep=False,
        lock=home / "postgres.lock",
        programs=Path(programs) if programs else None,
    )
    with ExitStack() as stack:
        try:
            server = stack.enter_context(started)
        except local.LocalUnavailable as error:
            why = f"no PostgreSQL to test with: {error}, or set {URL}"
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(why, pytrace=False)
            pytest.skip(why)
        _check_version(server.url)
        yield server


def _check_version(url: str) -> None:
    """Fail on a server of another version than the one that is asked for."""
    wanted = os.environ.get(VERSION)
    if wanted is None:
        return
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    with psycopg.connect(**conninfo) as connection:  # pyright: ignore[reportArgumentType] # all are texts
        found = connection.info.server_version // 10_000
    if str(found) != wanted:
        pytest.fail(f"{VERSION} asks for {wanted}, and the server is {found}", pytrace=False)
