"""The web applications of the deployment guides, served by real servers that are really stopped."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest

from .guides import DEPLOY, PATIENCE_SECONDS, Guide, Process, documents_of, ended, install, of_web

PAGES = Path(__file__).parents[3] / "docs" / "operate"
SITE_STOPS_SECONDS = 40.0
"""Gunicorn's own limit for open requests is 30 s."""


def needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name, reason=f"{name}, of the group `test`, is not installed")


def state(process: Process, order: str) -> object:
    status, text = process.answer(f"/orders/{order}")
    return json.loads(text).get("state") if status == 200 else status


def is_sent(process: Process, order: str) -> bool:
    status, text = process.answer(f"/orders/{order}")
    return status == 200 and "sent" in text


def test_the_application_has_time_for_its_requests_and_its_end() -> None:
    pod = documents_of("kubernetes/web.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    requests = re.search(r"--timeout-graceful-shutdown=(\d+)", " ".join(container["command"]))

    assert requests is not None
    assert pod["terminationGracePeriodSeconds"] >= waits + int(requests[1]) + 5


@pytest.mark.slow
def test_an_application_starts_orders_and_workers_run_them(tmp_path) -> None:
    needs("fastapi", "uvicorn")
    folder = install(tmp_path)
    web = Process(of_web(), folder)
    with ended(web) as processes:
        web.until_answer(web.guide.probes["readiness"])
        assert web.answer("/orders/o-1")[0] == 404
        for _ in range(2):
            assert web.answer("/orders/o-1?item=lamp", b"")[0] == 202
        assert state(web, "o-1") == "running"
        processes.append(
            Process(Guide(command=["python", "worker.py"], environment={}, stop_seconds=15), folder)
        )
        for _ in range(2):
            assert web.answer("/orders/o-1/approval?granted=true", b"")[0] == 202

        web.until(lambda: is_sent(web, "o-1"), "the order is not sent")

        ended_by_itself(web)
        assert processes[-1].stop() == 0


@pytest.mark.slow
def test_a_browser_follows_an_order_to_its_end_and_a_stop_cuts_off_one_that_still_listens(
    tmp_path,
) -> None:
    needs("fastapi", "uvicorn")
    soon = [re.sub("(shutdown)=.*", r"\1=1", word) for word in of_web().command]
    web = Process(of_web(), install(tmp_path), command=soon, ORDERS_IN_WEB="1")
    with ended(web), ThreadPoolExecutor() as browsers:
        web.until_answer("/ready")
        assert web.answer("/orders/o-1/changes")[0] == 404
        for order in ("o-1", "o-2"):
            assert web.answer(f"/orders/{order}?item=lamp", b"")[0] == 202
        first, second = (browsers.submit(changes, web, order) for order in ("o-1", "o-2"))
        assert web.answer("/orders/o-1/approval?granted=true", b"")[0] == 202

        assert first.result(PATIENCE_SECONDS)[-1]["status"] == "Completed"
        assert not second.done()
        assert web.stop() in (0, -signal.SIGTERM)
        second.result(PATIENCE_SECONDS)


def changes(process: Process, order: str) -> list[dict[str, object]]:
    """What a browser hears until the stream ends, or is cut off."""
    heard: list[dict[str, object]] = []
    url = f"http://127.0.0.1:{process.port}/orders/{order}/changes"
    with (
        urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as stream,
        suppress(OSError, HTTPException),
    ):
        heard.extend(json.loads(line[6:]) for line in stream if line.startswith(b"data: "))
    return heard


def ended_by_itself(server: Process) -> None:
    """Stop a server of uvicorn, which ends in order and then by the signal that it got."""
    assert server.stop() in (0, -signal.SIGTERM)
    said = server.said()
    assert said.count("Application startup complete") >= 1
    assert said.count("Application startup complete") == said.count("Application shutdown complete")
    assert "Traceback" not in said


@pytest.mark.slow
def test_several_processes_of_an_application_run_orders_and_are_stopped_and_started_again(
    tmp_path,
) -> None:
    needs("fastapi", "uvicorn")
    folder = install(tmp_path)
    guide = of_web()
    several = [*guide.command, "--workers=2"]
    first = Process(guide, folder, command=several, ORDERS_IN_WEB="1")
    with ended(first) as processes:
        first.until_answer("/ready")
        for order in ("o-1", "o-2"):
            assert first.answer(f"/orders/{order}?item=lamp", b"")[0] == 202
        ended_by_itself(first)

        second = Process(guide, folder, command=several, ORDERS_IN_WEB="1")
        processes.append(second)
        second.until_answer("/ready")
        for order in ("o-1", "o-2"):
            assert second.answer(f"/orders/{order}/approval?granted=true", b"")[0] == 202

        for order in ("o-1", "o-2"):
            second.until(lambda order=order: is_sent(second, order), f"{order} is not sent")
        ended_by_itself(second)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    needs("django", "gunicorn")
    folder = tmp_path / "site"
    shutil.copytree(DEPLOY / "django-site", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["makemigrations", "--check"], ["migrate"], ["check"]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_a_site_starts_orders_and_its_worker_runs_them_over_restarts_of_both(site) -> None:
    served = command_of("deploy-django.md", "gunicorn")
    work = command_of("deploy-django.md", "python manage.py work")
    guide = Guide(command=[], environment={}, stop_seconds=SITE_STOPS_SECONDS)
    form = urlencode({"item": "lamp"}).encode()

    def begin(command: list[str]) -> Process:
        process = Process(guide, site, command=command)
        processes.append(process)
        return process

    with ended() as processes:
        web, worker = begin(served), begin(work)
        web.until(lambda: web.answer("/orders/o-1")[0] == 404, "the site does not answer")
        for _ in range(2):
            assert web.answer("/orders/o-1/order", form)[0] == 202
        web.until(lambda: state(web, "o-1") == "packed", "the order is not packed")
        assert [worker.stop(), web.stop()] == [0, 0]

        web, worker = begin(served), begin(work)
        web.until(lambda: state(web, "o-1") == "packed", "the site does not answer")
        for _ in range(2):
            assert web.answer("/orders/o-1/approve", b"")[0] == 202
        web.until(lambda: state(web, "o-1") == "sent", "the order is not sent")
        assert [worker.stop(), web.stop()] == [0, 0]

    assert [process.said() for process in processes if "Traceback" in process.said()] == []


def command_of(page: str, begins: str) -> list[str]:
    """A command of a page, with a port of this test."""
    text = (PAGES / page).read_text("utf-8")
    found = re.search(rf"^{re.escape(begins)}.*$", text, re.MULTILINE)
    assert found is not None
    return re.sub(r"(--bind=\S+):\d+", r"\1:PORT", found[0]).split()
