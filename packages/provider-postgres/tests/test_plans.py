"""The server finds rows by their keys, however little it knows of the tables."""

import psycopg
import pytest
from perdure.contract import ProviderUrl
from perdure.providers.loader import open_provider
from perdure_postgres import PostgresOptions

SETTINGS = """
SET search_path = perdure;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET enable_material = off; SET join_collapse_limit = 1; SET plan_cache_mode = force_generic_plan;
"""
FINDING = """
PREPARE finding(int, jsonb) AS
SELECT t.number FROM jsonb_to_recordset($2) AS r(instance text)
JOIN LATERAL find_instance($1, r.instance) AS i ON true
JOIN turns AS t ON t.number = i.number
"""


@pytest.mark.slow
async def test_an_instance_is_found_by_its_id_and_not_by_reading_its_namespace(url):
    async with open_provider(url):
        pass
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    with psycopg.connect(**conninfo, autocommit=True) as connection:
        connection.execute(SETTINGS)
        connection.execute(FINDING)
        lines = connection.execute("EXPLAIN EXECUTE finding(1, '[]')").fetchall()
    plan = "\n".join(line for (line,) in lines)

    # By the id too: on a condition for the namespace alone, every call would read all of it.
    assert "(namespace = $1) AND (id = " in plan, plan
    assert "Materialize" not in plan
