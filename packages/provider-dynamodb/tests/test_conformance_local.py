"""The provider on a real DynamoDB Local keeps the contract, whatever the number of shards.

The tests of every change take four shards, the default; one shard takes as long again, and runs
on the model beside this file (`test_conformance_model.py`). `nox -s dynamodb` runs both here, and
`nox -s lowest` the clauses by command.
"""

import os

import pytest
from perdure_conformance import ProviderConformance

pytestmark = pytest.mark.slow

SHARDS = os.environ.get("PERDURE_TEST_DYNAMODB_SHARDS", "4").split(",")


if "1" in SHARDS:

    class TestOneShard(ProviderConformance):
        @pytest.fixture
        def provider_url(self, dynamodb_url):
            return f"{dynamodb_url}&shards=1"


if "4" in SHARDS:

    class TestFourShards(ProviderConformance):
        @pytest.fixture
        def provider_url(self, dynamodb_url):
            return f"{dynamodb_url}&shards=4"
