"""The providers of this repository, certified."""

import pytest
from perdure_conformance import ProviderConformance


class TestMemory(ProviderConformance):
    @pytest.fixture
    def provider_url(self):
        return "memory://conformance"


@pytest.mark.slow
class TestSqlite(ProviderConformance):
    @pytest.fixture
    def provider_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/store.db"
