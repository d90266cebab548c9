"""The provider on a real DynamoDB Local keeps the contract, whatever the number of shards.

The tests of every change take one shard: with four, each look asks for four times as much, which makes
half of all requests more. They make their requests directly, which takes a third of the processor time.
The model beside this file has four shards (`test_conformance_model.py`). So has `nox -s lowest`, which
plays some clauses with the driver's client.
`nox -s dynamodb` runs everything here, with that client and both numbers of shards.
"""

import os

import pytest
from perdure_conformance import ProviderConformance

pytestmark = pytest.mark.slow

SHARDS = os.environ.get("PERDURE_TEST_DYNAMODB_SHARDS", "1").split(",")
DIRECT = os.environ.get("PERDURE_TEST_DYNAMODB_DIRECT", "true")


if "1" in SHARDS:

    class TestOneShard(ProviderConformance):
        @pytest.fixture
        def provider_url(self, dynamodb_url):
            return f"{dynamodb_url}&shards=1&direct={DIRECT}"


if "4" in SHARDS:

    class TestFourShards(ProviderConformance):
        @pytest.fixture
        def provider_url(self, dynamodb_url):
            return f"{dynamodb_url}&shards=4&direct={DIRECT}"
