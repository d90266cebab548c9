"""The provider on a real PostgreSQL keeps the contract."""

import pytest
from perdure_conformance import ProviderConformance

pytestmark = pytest.mark.slow


class TestPostgres(ProviderConformance):
    @pytest.fixture
    def provider_url(self, postgres_url):
        return postgres_url
