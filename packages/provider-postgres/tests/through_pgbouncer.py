"""The provider keeps the contract through a pooler in transaction mode, and hears of news past it.

`nox -s pgbouncer` runs this file; the tests of every change do without.
"""

import pytest
from perdure_conformance import ProviderConformance


class TestThroughPgBouncer(ProviderConformance):
    @pytest.fixture
    def provider_url(self, postgres_url, pooler):
        return f"{pooler.url}?create=true&listen={pooler.server}"
