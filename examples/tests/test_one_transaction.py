"""Endpoints are killed at each point of their transaction: an order is there exactly if its orchestration is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import perdure
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["fastapi", "django"])
def test_a_killed_endpoint_leaves_an_order_and_its_orchestration_or_neither(
    framework: str, tmp_path: Path
) -> None:
    pytest.importorskip(framework, reason=f"{framework}, of the group `test`, is not installed")
    program = Path(__file__).with_name("killed_endpoint.py")
    subprocess.run([sys.executable, str(program), framework], cwd=tmp_path, check=True)

    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        orders = [number for (number,) in connection.execute("SELECT number FROM orders")]
    with perdure.BlockingClient.open(f"sqlite:///{tmp_path}/shop.db") as client:
        assert list(client.list_all_instances()) == orders
    assert orders == ["after-commit"]
