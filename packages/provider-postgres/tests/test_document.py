"""The queries of the operators' page run on the tables of this version."""

import re
from pathlib import Path

import pytest
from perdure.providers.loader import open_provider

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "postgres-operating.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.slow
async def test_every_query_for_operators_can_be_run(url, execute):
    async with open_provider(url):
        pass  # makes the schema

    assert len(QUERIES) >= 5
    for query in QUERIES:
        execute(url, query)
