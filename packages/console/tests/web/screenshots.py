"""Makes the screenshots of the documents, so that they show the page as it is.

    python packages/console/tests/web/screenshots.py

It plays the orders of the demonstration on a fresh SQLite file, beside a worker that is killed on the
way, and takes pictures of the pages of `perdure web`, light and dark, into `docs/operate/images`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[4]
ORDERS = ROOT / "examples" / "order"
IMAGES = ROOT / "docs" / "operate" / "images"
sys.path[:0] = [str(Path(__file__).parent), str(ORDERS)]

import perdure  # noqa: E402
from browsing import Browser, browsing  # noqa: E402

import director  # noqa: E402 # stands in the folder above
from orders import Item, Order, app, process_order  # noqa: E402, F401
from outside import Outside  # noqa: E402
from stage import Stage  # noqa: E402
from worker import work  # noqa: E402, F401

PAGES = {
    "instances": "/",
    "instance": "/instance?id=order-1",
    "history": "/instance?id=order-1&view=history",
    "source": "/instance?id=order-3&view=source",
    "health": "/health",
}


def main() -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(directory=Path(folder), url="sqlite:///orders.db", prefix="order-", pace=1.0)
        os.chdir(folder)
        asyncio.run(play(stage))
        IMAGES.mkdir(exist_ok=True)
        with served(folder) as base, browsing(base, Path(folder) / "profile") as page:
            for is_dark in (False, True):
                page.dark(is_dark)
                for name, path in PAGES.items():
                    shoot(page, name, path, is_dark=is_dark)


def shoot(page: Browser, name: str, path: str, *, is_dark: bool) -> None:
    page.open(path)
    page.resize(1280, 760)
    tone = "dark" if is_dark else "light"
    page.driver.save_screenshot(str(IMAGES / f"{name}-{tone}.png"))


async def play(stage: Stage) -> None:
    """Orders in several states; the first was in the hands of two workers, one of which was killed."""
    outside = Outside(stage.ledger)
    line = [sys.executable, str(ORDERS), "worker", *stage.arguments()]
    async with perdure.open_provider(stage.url) as provider:
        client = perdure.Client(provider)
        first = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 # it takes a moment
        for number, town in enumerate(("Lisbon", "Atlantis", "Bergen", "Cork", "Gent"), 1):
            order = Order(
                number=f"order-{number}",
                items=[Item(name=name, cents=1900) for name in ("lamp", "book", "cup")],
                town=town,
                card="refused" if number == 4 else "valid",
            )
            await client.start_orchestration(
                order.number, process_order, order, labels={"town": town}
            )
        while not outside.requests("order-1", "charge"):  # noqa: ASYNC110 # a file of others
            await asyncio.sleep(0.02)
        first.kill()
        first.wait()
        second = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 # it takes a moment
        try:
            await wait_for_approval(client, "order-1", "order-2", "order-3", "order-5")
            for order in ("order-1", "order-2"):
                await director.approve(client, order)
            for order in ("order-1", "order-2", "order-4"):
                await client.wait_for_orchestration(order, 60)
            await client.terminate_instance("order-5", "sent back by its owner")
        finally:
            second.terminate()
            second.wait()


async def wait_for_approval(client: perdure.Client, *orders: str) -> None:
    for order in orders:
        async for _ in client.watch_instance(order):
            if (await client.describe_instance(order)).waits:
                break


@contextmanager
def served(folder: str) -> Iterator[str]:
    words = ["web", "--url", "sqlite:///orders.db", "--app", "orders:app", "--port", "0"]
    line = [sys.executable, "-m", "perdure_console", *words]
    environment = {**os.environ, "PYTHONPATH": str(ORDERS)}
    with subprocess.Popen(
        line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        base = process.stderr.readline().rpartition(" at ")[2].strip()
        try:
            yield base
        finally:
            process.terminate()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{len(PAGES) * 2} screenshots in {time.monotonic() - began:.0f} s")
