"""The provider on a real DynamoDB Local keeps the contract, whatever the number of shards."""

import pytest
from perdure_conformance import ProviderConformance

pytestmark = pytest.mark.slow


class TestOneShard(ProviderConformance):
    @pytest.fixture
    def provider_url(self, dynamodb_url):
        return f"{dynamodb_url}&shards=1"


class TestFourShards(ProviderConformance):
    @pytest.fixture
    def provider_url(self, dynamodb_url):
        return f"{dynamodb_url}&shards=4"
