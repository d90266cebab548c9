"""Fixtures of the provider's tests: DynamoDB Local, and the model in its place."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from perdure.contract import ManualClock
from perdure_dynamodb import DynamoDBOptions, _commits, _manifest, _payloads
from perdure_dynamodb._opening import open_on
from perdure_dynamodb.testing.fixtures import dynamodb_endpoint, dynamodb_url
from perdure_dynamodb.testing.model import ModelCalls

__all__ = ["dynamodb_endpoint", "dynamodb_url"]


async def at_once(seconds):
    """Instead of a pause between two attempts of a request."""
    del seconds


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def model():
    return ModelCalls()


@pytest.fixture
def open_on_model(model, clock):
    """Opens provider objects on the model, through the given transport."""

    @asynccontextmanager
    async def opened(calls=None, *, shards=4, namespace="test"):
        options = DynamoDBOptions(table="model", namespace=namespace, shards=shards)
        async with open_on(calls or model, options, clock=clock, pause=at_once) as provider:
            yield provider

    return opened


@pytest.fixture(params=["in one transaction", "staged", "with payloads in chunks"])
def commits(request, monkeypatch):
    """Commits as they are, or all of them staged in small batches, or all payloads in chunks."""
    if request.param == "with payloads in chunks":
        monkeypatch.setattr(_payloads, "INLINE_LIMIT", 0)
        monkeypatch.setattr(_payloads, "CHUNK_BYTES", 4)
    if request.param == "staged":
        monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
        monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)
