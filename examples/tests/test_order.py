"""The demonstration holds what it says, and can tell when something does not hold."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from perdure_postgres.testing.fixtures import postgres_url

__all__ = ["postgres_url"]

ORDER = Path(__file__).parents[1] / "order"


def demonstrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ORDER), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def charges(ledger: Path) -> list[tuple[str, int]]:
    if not ledger.exists():
        return []
    connection = sqlite3.connect(ledger, timeout=30)
    try:
        query = "SELECT \"order\", booked FROM request WHERE action = 'charge'"
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # the table is not there yet
        return []
    finally:
        connection.close()


@pytest.mark.slow
def test_the_demonstration_kills_its_workers_and_charges_each_order_once(tmp_path: Path) -> None:
    shown = demonstrate("--directory", str(tmp_path), "--prefix", "shown-", "--pace", "2")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert len(re.findall(r"kill -9 \d+", shown.stdout)) == 2
    assert "shown-1 was charged once" in shown.stdout
    assert "the bank was asked twice, by 2 process(es)" in shown.stdout
    assert "shown-2 is undone" in shown.stdout
    assert "BROKEN" not in shown.stdout
    assert "\x1b" not in shown.stdout  # no colours outside of a terminal
    assert shown.stderr == ""
    booked = [order for order, effect in charges(tmp_path / "outside.db") if effect]
    assert sorted(booked) == ["shown-1", "shown-2"]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """What names the storage; a file in the directory where nothing does."""
    if request.param == "sqlite":
        return []
    url = request.getfixturevalue("postgres_url")
    return ["--url", f"{url}&namespace={tmp_path.name}-{time.time_ns()}"]


@pytest.mark.slow
def test_a_run_that_is_killed_by_hand_goes_on_with_the_same_command(
    tmp_path: Path, storage: list[str]
) -> None:
    ledger = tmp_path / "outside.db"
    arguments = ["run", "--directory", str(tmp_path), "--pace", "0.5", *storage]
    first = subprocess.Popen([sys.executable, str(ORDER), *arguments], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not charges(ledger) and time.monotonic() < end and first.poll() is None:
            time.sleep(0.01)
    finally:
        first.kill()
        first.wait()

    second = demonstrate(*arguments)

    assert second.returncode == 0, second.stdout + second.stderr
    assert "was there already, and goes on" in second.stdout
    assert "known by its key" in second.stdout


@pytest.mark.slow
def test_a_second_charge_would_be_seen(tmp_path: Path) -> None:
    arguments = ["--directory", str(tmp_path), "--pace", "0.1"]
    assert demonstrate("run", *arguments).returncode == 0
    connection = sqlite3.connect(tmp_path / "outside.db")
    with connection:
        connection.execute(
            'INSERT INTO request (action, "order", item, cents, key, process, booked)'
            " VALUES ('charge', 'order-1', '', 36700, 'another key', 1, 1)"
        )
    connection.close()

    looked = demonstrate("look", *arguments)

    assert looked.returncode == 1
    assert "BROKEN  order-1 was charged twice" in looked.stdout
