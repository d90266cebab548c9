"""Fixtures of the provider's tests: DynamoDB Local, and the model in its place."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from perdure.contract import ManualClock
from perdure_dynamodb import DynamoDBOptions
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
