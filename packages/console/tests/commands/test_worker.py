"""The script's command `worker`: it works, answers probes, logs JSON, stops in order or at once, begins again."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import perdure
import pytest
from perdure_console.working.health import address_of
from perdure_console.working.logs import JsonFormatter, ReadableFormatter

from .processes import script

PROGRAM = """
import asyncio
from contextlib import asynccontextmanager
import perdure

app = perdure.Registry()

@asynccontextmanager
async def bank():
    yield "the bank"

@app.activity
async def charge(order: str) -> str:
    return f"{perdure.activity_context().resources} charged {order}"

@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, order: str) -> str:
    return await ctx.schedule_activity(charge, order)
"""
STUCK = """
import asyncio, sys
from datetime import timedelta
import perdure

app = perdure.Registry()
patient = perdure.RuntimeOptions(shutdown_grace=timedelta(hours=1))

@app.activity
async def pack() -> None:
    print("packing", file=sys.stderr, flush=True)
    await asyncio.Event().wait()

@app.orchestration
async def ship(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(pack)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PROGRAM, "utf-8")
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in the folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        line = [script(), "worker", "shop:app", *words]
        process = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


async def result_of(url: str) -> str:
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        handle = await client.start_orchestration("order-1", "pay", '"cup"')
        return str(await handle.result(30))


@pytest.mark.slow
def test_a_worker_says_what_it_serves_works_answers_probes_and_stops_in_order(
    worker, folder
) -> None:
    url = f"sqlite:///{folder}/shop.db"
    words = ("--url", url, "--resources", "shop:bank", "--tag", "gpu", "--log-format", "json")
    process = worker(*words, "--health", "127.0.0.1:0")

    port = int(json.loads(process.stderr.readline())["message"].rpartition(" port ")[2])
    said = json.loads(process.stderr.readline())
    assert re.fullmatch(
        r"worker \d+ serves sqlite:///.*shop\.db; orchestrations: pay 1\.0\.0;"
        r" activities: charge; tags: gpu, untagged",
        said["message"],
    )
    assert asyncio.run(result_of(url)) == "the bank charged cup"
    assert asked(port, "/livez") == (200, "ok\n")
    assert asked(port, "/readyz?x=1") == (200, "ok\n")
    assert asked(port, "/other")[0] == 404
    assert asked(port, "/readyz", "POST")[0] == 405
    process.send_signal(signal.SIGTERM)
    rest = [json.loads(line)["message"] for line in process.stderr]

    assert "the runtime stops: the process got SIGTERM" in rest
    assert rest[-1] == "the worker has stopped"
    assert process.wait(20) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_second_signal_ends_a_worker_whose_activity_still_runs(
    worker, folder, number, code
) -> None:
    (folder / "shop.py").write_text(STUCK, "utf-8")
    url = f"sqlite:///{folder}/shop.db"
    asyncio.run(start_shipping(url))
    process = worker("--url", url, "--options", "shop:patient")
    read_until(process, "packing")

    process.send_signal(number)
    read_until(process, f"the runtime stops: the process got {number.name}")
    process.send_signal(number)

    assert process.wait(60) == code
    assert "the worker has stopped" not in process.stderr.read()


async def start_shipping(url: str) -> None:
    async with perdure.open_provider(url) as provider:
        await perdure.Client(provider).start_orchestration("order-1", "ship")


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read what the worker says up to a line with this text."""
    assert any(text in line for line in process.stderr)


@pytest.mark.slow
def test_a_worker_that_reloads_runs_the_changed_program_and_stops(worker, folder) -> None:
    process = worker("--url", f"sqlite:///{folder}/shop.db", "--reload")
    assert "activities: charge;" in process.stderr.readline()

    (folder / "shop.py").write_text(PROGRAM.replace("charge", "debit"), "utf-8")
    for line in process.stderr:
        if "activities: debit;" in line:
            break
    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere:app"], "'nowhere:app' cannot be imported: No module named 'nowhere'"),
        (["json:loads"], "'json:loads' is no Registry"),
        (["json:loads", "--health", "8081"], "'8081' is no address"),
        (["shop"], "'shop' names no registry"),
    ],
)
def test_a_worker_that_cannot_begin_says_why(perdure_says, tmp_path, words, message) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        said = perdure_says("worker", f"sqlite:///{tmp_path}/x.db", *words)
    finally:
        root.handlers, root.level = handlers, level

    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_address_has_a_port_and_may_have_a_host() -> None:
    assert address_of(":8081") == (None, 8081)
    assert address_of("127.0.0.1:80") == ("127.0.0.1", 80)
    assert address_of("[::1]:80") == ("::1", 80)


def test_log_lines_are_one_line_of_json_or_readable_and_never_steer_a_terminal() -> None:
    record = logging.LogRecord("perdure.runtime", 30, "x", 1, "a\x1b[31m\n%s", ("b",), None)
    record.perdure_instance = "order-1"

    line = JsonFormatter().format(record)
    plain = json.loads(line)
    assert "\n" not in line
    assert (plain["level"], plain["perdure_instance"]) == ("WARNING", "order-1")
    assert plain["message"] == "a\x1b[31m\nb"
    assert "\\x1b[31m" in ReadableFormatter().format(record)
