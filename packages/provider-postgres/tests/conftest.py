"""Fixtures of the provider's tests: a PostgreSQL, and a schema or namespace for each test."""

from __future__ import annotations

import itertools

import pytest
from perdure.contract import ManualClock
from perdure_postgres.testing.fixtures import postgres_url

__all__ = ["postgres_url"]

_NUMBERS = itertools.count(1)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def url(postgres_url, worker_id):
    """A namespace of its own, in the schema that all tests share."""
    return f"{postgres_url}&namespace=test-{worker_id}-{next(_NUMBERS)}"
