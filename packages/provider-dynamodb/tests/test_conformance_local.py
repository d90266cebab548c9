"""The provider on a real DynamoDB Local keeps the contract, whatever the number of shards.

The tests of every change take four shards, the default; one shard takes as long again, and runs
on the model beside this file (`test_conformance_model.py`). `nox -s dynamodb` runs both here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_the_command_reaches_it_as_pytest_does(dynamodb_url: str, tmp_path: Path) -> None:
    """With a few checks only: they are the same, and each takes long here."""
    words = [dynamodb_url, "--only", "CREATE", "--report", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "perdure_conformance", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    counts = json.loads((tmp_path / "conformance.json").read_text(encoding="utf-8"))["counts"]
    assert "only checks with 'CREATE' in their id were asked for" in done.stdout
    assert counts["passed"] >= 7, done.stdout
    assert counts["failed"] == 0, done.stdout
