"""The demonstration of the README, watched in the page while it runs: a kill, an approval, a retry by a click."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import perdure
import pytest

from .browsing import Browser, browsing
from .test_browser import served, state

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ORDERS = Path(__file__).parents[4] / "examples" / "order"


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a worker of the demonstration; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        words = ["worker", "--url", f"sqlite:///{tmp_path}/orders.db", "--directory", str(tmp_path)]
        line = [sys.executable, str(ORDERS), *words, "--pace", "2"]
        started.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def start_orders(url: str) -> None:
    item = {"name": "lamp", "cents": 4900}
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        for number in ("order-1", "order-2"):
            order = {"number": number, "items": [item], "town": "Lisbon", "packing_seconds": 0.1}
            await client.start_orchestration_typed(number, "process_order", order)


def bars(page: Browser, name: str, outcome: str) -> int:
    """How many bars of this name and outcome the timeline has."""
    titles = page.driver.execute_script(
        "return [...document.querySelectorAll('rect.bar.' + arguments[0] + ' title')]"
        ".map((each) => each.textContent)",
        outcome,
    )
    return sum(title.startswith(name) for title in titles)


def test_a_kill_an_approval_and_a_retry_are_seen_as_they_happen(
    start_worker, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    asyncio.run(start_orders(url))
    with (
        served(["web", "--url", url, "--port", "0"], tmp_path) as base,
        browsing(base, tmp_path / "profile") as page,
    ):
        page.open("/instance?id=order-1")
        first = start_worker()
        page.until(lambda: bars(page, "charge", "failed") == 1)  # the first attempt
        page.until(lambda: bars(page, "charge", "open") == 1)
        first.kill()
        first.wait()
        page.shoot("demonstration-killed")
        assert bars(page, "charge", "open") == 1

        start_worker()
        page.until(lambda: bars(page, "charge", "done") == 1)
        page.until(lambda: "approval" in page.text("#side"))
        page.click("summary", "Raise an event")
        page.fill("[name=name]", "approval")
        page.fill("textarea[name=data]", '{"by": "Ines"}')
        page.click("button[value=raise]")
        page.until(lambda: state(page) == "completed")
        assert "shipped" in page.text("#side")

        page.open("/instance?id=order-2")
        page.until(lambda: "approval" in page.text("#side"))
        page.click("button[value=terminate]")
        page.click("#confirm")
        page.until(lambda: state(page) == "failed")
        page.click("button[value=retry]")
        page.until(lambda: state(page) == "running")
        page.until(lambda: "approval" in page.text("#side"))
        page.shoot("demonstration-retried")
        page.open("/instance?id=order-2&view=executions")
        assert len(page.all("#view tbody tr")) == 2
        assert page.complaints() == []
