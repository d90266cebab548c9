"""Fixtures of the provider's tests: a PostgreSQL, and a schema or namespace for each test."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from perdure.contract import ManualClock, ProviderUrl
from perdure_postgres import PostgresOptions
from perdure_postgres.testing.fixtures import postgres_url, started_for

__all__ = ["postgres_url"]

_NUMBERS = itertools.count(1)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def url(postgres_url, worker_id):
    """A namespace of its own, in the schema that all tests share."""
    return f"{postgres_url}&namespace=test-{worker_id}-{next(_NUMBERS)}"


@pytest.fixture
def server(tmp_path):
    """A server of the test's own, which it may crash."""
    with started_for(tmp_path) as server:
        yield server


@pytest.fixture
def schema(postgres_url, worker_id):
    """A schema that does not exist yet; it goes with the test."""
    name = f"schema_{worker_id}_{next(_NUMBERS)}"
    yield name
    execute(postgres_url, f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def role(postgres_url, worker_id):
    """A role without rights; it goes with the test."""
    name = f"role_{worker_id}_{next(_NUMBERS)}"
    execute(postgres_url, f"CREATE ROLE {name} LOGIN")
    yield name
    execute(postgres_url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


@pytest.fixture(name="connect")
def connect_fixture():
    """Opens a connection of the test's own, by the URL of a provider."""
    return connected


@pytest.fixture(name="execute")
def execute_fixture():
    """Runs statements of the test's own, and gives the rows of the last one."""
    return execute


def connected(url):
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    return psycopg.connect(**conninfo, autocommit=True)


def execute(url, *statements):
    rows = []
    with connected(url) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
    return rows
