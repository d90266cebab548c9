"""Every page and button of the installed console in a real browser, on an SQLite file with a worker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import perdure
import pytest

from .browsing import Browser, browsing
from .conftest import HOSTILE
from .test_guard import TOKEN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the driver's own connections
]

PROGRAM = """
import asyncio
from pathlib import Path
import perdure

app = perdure.Registry()

@app.activity
async def reserve(item: str) -> str:
    return item

@app.activity
async def charge(order: str) -> str:
    if not Path("open").exists():
        raise perdure.NonRetryable(f"the bank is closed for {order}")
    return "receipt"

@app.orchestration
async def pack(ctx: perdure.OrchestrationContext, order: str) -> str:
    return await ctx.schedule_activity(reserve, order)

@app.orchestration
async def process(ctx: perdure.OrchestrationContext, order: str) -> str:
    ctx.set_status({"order": order})
    ctx.set_value("order", order)
    await asyncio.gather(*(ctx.schedule_activity(reserve, each) for each in ("cup", "book")))
    await ctx.schedule_sub_orchestration(pack, order)
    approval = await ctx.schedule_wait("approval")
    await ctx.schedule_activity(charge, order)
    return f"done, {approval}"
"""
ORDERS = ("order-1", "order-2", "order-3", "order-4", "order-5", f"x/..%{HOSTILE}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "shop.py").write_text(PROGRAM, "utf-8")
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[str]:
    """The URL of a file with orders that wait for their approval, beside a worker."""
    url = f"sqlite:///{folder}/shop.db"
    line = [sys.executable, "-m", "perdure_console", "worker", "shop:app", "--url", url]
    process = subprocess.Popen(line, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(start(url))
        yield url
    finally:
        process.kill()
        process.wait()


async def start(url: str) -> None:
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        for order in ORDERS:
            await client.start_orchestration_typed(order, "process", HOSTILE)
        for order in ORDERS:
            async for _ in client.watch_instance(order):
                if (await client.describe_instance(order)).waits:
                    break


@pytest.fixture(scope="module")
def page(worker: str, folder: Path, tmp_path_factory) -> Iterator[Browser]:
    """A window on the page of `perdure web`."""
    words = ["web", "--url", worker, "--app", "shop:app", "--port", "0"]
    with (
        served(words, folder) as base,
        browsing(base, tmp_path_factory.mktemp("profile")) as opened,
    ):
        yield opened


@contextmanager
def served(words: list[str], folder: Path) -> Iterator[str]:
    """`perdure web` in a process; its base URL is what it says itself."""
    line = [sys.executable, "-m", "perdure_console", *words]
    with subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        base = process.stderr.readline().rpartition(" at ")[2].strip()
        try:
            yield base
        finally:
            process.terminate()


def state(page: Browser) -> str:
    return page.text("#head .pill")


def test_every_button_does_what_it_says_and_changes_come_by_themselves(
    page: Browser, folder: Path
) -> None:
    # An event that is raised leads to a failure, which the page shows without being loaded again.
    page.open("/instance?id=order-1")
    assert state(page) == "running"
    assert page.find("[name=name]").get_attribute("value") == "approval"
    page.shoot("instance-light")
    page.fill("textarea[name=data]", '{"by": "Ines"}')
    page.click("button[value=raise]")
    page.until(lambda: "approval was raised to order-1" in page.text(".said"))
    page.until(lambda: state(page) == "failed")
    assert "the bank is closed" in page.text(".note.failed")

    (folder / "open").touch()
    page.open("/instance?id=order-1")
    page.click("button[value=retry]")
    page.until(lambda: state(page) == "completed")
    assert "done, " in page.text("#side")

    # From a row of the history, and with the question in between.
    page.open("/instance?id=order-1&view=history")
    page.click("button[aria-label='Rewind to event 1']")
    assert "Run again from this event?" in page.text("h1")
    page.shoot("confirm-light")
    page.click("#confirm")
    page.until(lambda: "runs again, as execution 3" in page.text(".said"))
    page.open("/instance?id=order-1&view=executions")
    page.until(lambda: len(page.all("#view tbody tr")) == 3)

    page.open("/instance?id=order-2")
    page.click("summary", "Fork")
    page.fill("[name=new]", "order-2-copy")
    page.click("button[value=fork]")
    page.until(lambda: page.text("h1") == "order-2-copy")
    page.until(lambda: state(page) == "running")

    page.open("/instance?id=order-2")
    page.click("summary", "Rewind")
    page.fill(".acts [name=event]", "1")
    page.click(".acts button[value=rewind]")
    page.click("a.button", "Keep as it is")
    assert page.text("h1") == "order-2"

    for action, question, ends in (
        ("cancel", "Ask to end, with cleanup?", "failed"),
        ("terminate", "End at once, without cleanup?", "failed"),
    ):
        order = "order-2" if action == "cancel" else "order-3"
        page.open(f"/instance?id={order}")
        page.click(f"button[value={action}]")
        assert question in page.text("h1")
        page.click("#confirm")
        page.until(lambda: state(page) == ends)  # noqa: B023 # it is called at once

    page.click("button[value=delete]")
    page.click("#confirm")
    page.until(lambda: "order-3 was deleted" in page.text(".said"))
    assert page.text("h1") == "Instances"
    assert page.complaints() == []


def test_the_table_is_filtered_followed_and_acted_on_in_bulk(page: Browser, worker: str) -> None:
    page.open("/")
    page.shoot("instances-light")
    assert not page.find(".selected button").is_enabled()
    page.fill("[name=prefix]", "order-4")
    page.click("#filter")
    page.until(lambda: "prefix=order-4" in page.driver.current_url)
    page.click(".segments label", "Roots")
    page.until(lambda: page.driver.current_url.endswith("/?prefix=order-4&roots=yes"))
    page.click(".segments label", "Running")
    page.until(lambda: "status=Running" in page.driver.current_url)
    page.until(lambda: len(page.all("#rows tbody tr")) == 1)

    page.click("#all")
    assert "1 selected" in page.text("#count")
    page.click("button[value=cancel]")
    page.click("#confirm")
    page.until(lambda: "order-4 is asked to end" in page.text(".said"))
    page.until(lambda: "No instance matches" in page.text("#rows"))  # the table follows

    page.open("/?prefix=order-4&roots=yes")
    page.click("#all")
    page.click("button[value=retry]")
    page.until(lambda: "order-4 runs again" in page.text(".said"))
    page.click("a.button", "Clear")
    before = len(page.all("#rows tbody tr"))
    asyncio.run(start_one(worker, "later"))
    page.until(lambda: len(page.all("#rows tbody tr")) > before)
    assert "later" in page.text("#rows")

    page.open("/?prefix=later")
    page.click("#all")
    page.click("button[value=delete]")
    page.click("#confirm")
    page.until(lambda: "later" in page.text(".said.bad"))  # it runs
    assert page.complaints() == []


async def start_one(url: str, instance: str) -> None:
    async with perdure.open_provider(url) as provider:
        await perdure.Client(provider).start_orchestration(instance, "process", '"x"')


def test_the_views_of_an_instance_show_it_and_are_used_by_keyboard(page: Browser) -> None:
    page.open("/instance?id=order-5")
    assert {"reserve", "pack", "approval"} <= {each.text for each in page.all(".names .name")}
    width = page.find("rect.bar.activity").size["width"]
    page.click("[aria-label='Zoom in']")
    assert page.find("rect.bar.wait").size["width"] > 0
    page.click("[aria-label='Zoom out']")
    page.click("[aria-label='Earlier']")
    page.click("[aria-label='Later']")
    page.click("[aria-label^='All of it']")
    assert page.find("rect.bar.activity").size["width"] <= width + 1

    page.click(".tabs a", "History")
    page.click(".events summary", "OrchestrationStarted")
    assert "document.title" in page.text(".payloads")
    page.shoot("history-light")
    page.click(".tabs a", "Tree")
    assert len(page.all(".tree .pill")) == 2
    page.click(".tree ul a.id")
    assert page.text(".crumbs a:last-child") == "order-5"
    page.click(".crumbs a:last-child")

    page.click(".tabs a", "Source")
    assert 'approval = await ctx.schedule_wait("approval")' in page.text(".code .inner")
    page.shoot("source-light")
    page.click("#step-back")
    page.click("#step-back")
    slider = page.find("input[type=range]")
    page.driver.execute_script(
        "arguments[0].value = 1; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
        slider,
    )
    page.until(lambda: "event=1" in page.driver.current_url)
    assert "await asyncio.gather(" in page.text(".code .inner")
    page.click("#step-on")
    assert "event 2 of" in page.text("output")

    page.open("/")
    page.driver.switch_to.active_element.send_keys("\ue004")  # the tabulator
    assert page.driver.switch_to.active_element.text == "Skip to the content"
    page.driver.switch_to.active_element.send_keys("\ue007")  # enter
    assert page.driver.switch_to.active_element.get_attribute("id") == "content"
    assert page.complaints() == []


def test_hostile_ids_and_payloads_are_text(page: Browser) -> None:
    hostile = ORDERS[-1]
    for view in ("timeline", "history", "tree", "executions", "source"):
        page.open(f"/instance?id={quote(hostile, safe='')}&view={view}")
        assert page.text("h1") == hostile
        assert "hacked" not in page.driver.title.replace(hostile, "")
    page.open("/")
    assert hostile in page.text("#rows")
    page.click("#rows td.id a", "script")
    assert page.text("h1").startswith(hostile)  # it, or its child
    assert page.complaints() == []


def test_the_page_is_read_in_the_dark_on_a_phone_and_with_a_screen_reader(page: Browser) -> None:
    paths = {
        "instances": "/",
        "instance": "/instance?id=order-5",
        "history": "/instance?id=order-5&view=history",
        "source": "/instance?id=order-5&view=source",
        "health": "/health",
    }
    for is_dark in (False, True):
        page.dark(is_dark)
        for name, path in paths.items():
            page.open(path)
            page.shoot(f"{name}-{'dark' if is_dark else 'light'}")
            assert page.driver.execute_script(CONTRASTS) == [], (path, is_dark)
            unnamed = page.driver.execute_script(UNNAMED)
            assert unnamed == [], path
    page.dark(False)
    page.resize(400)
    for name, path in paths.items():
        page.open(path)
        page.shoot(f"{name}-narrow")
        wide = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 400, path
    page.resize(1280)

    page.open("/")
    before = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    after = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert before != after
    page.click("#theme")
    assert page.complaints() == []


# Texts whose colour has less than 4.5 to 1 against what is behind them (WCAG AA).
CONTRASTS = """
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const [r, g, b, a = 1] = parts(getComputedStyle(node).backgroundColor);
    if (a > 0.85) return [r, g, b];
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
};
const poor = [];
for (const node of document.querySelectorAll('body *')) {
  const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
  const style = getComputedStyle(node);
  if (!own || !node.checkVisibility() || node.closest('svg, button:disabled, .unseen')) continue;
  const [one, other] = [light(parts(style.color)), light(behind(node))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < 4.5) poor.push(`${node.className || node.tagName}: ${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 30)}`);
}
return [...new Set(poor)];
"""

# Fields, links and buttons that a screen reader could not name.
UNNAMED = """
return [...document.querySelectorAll('input:not([type=hidden]), textarea, button, a[href]')]
  .filter((node) => !(node.getAttribute('aria-label') || node.textContent.trim()
    || (node.labels && [...node.labels].some((each) => each.textContent.trim()))
    || node.querySelector('title, img[alt]')))
  .map((node) => node.outerHTML.slice(0, 120));
"""


def test_people_log_in_with_the_token(worker: str, folder: Path, tmp_path: Path) -> None:
    words = ["web", "--url", worker, "--port", "0", "--token", TOKEN, "--read-only"]
    with served(words, folder) as base, browsing(base, tmp_path / "profile") as page:
        page.open("/health")
        page.fill("[name=token]", "wrong")
        page.click("button", "Log in")
        assert "That is not the token." in page.text()
        page.fill("[name=token]", TOKEN)
        page.click("button", "Log in")
        assert page.text("h1") == "Instances"
        assert "read only" in page.text("header")
        assert page.all("main button[name=action]") == []
