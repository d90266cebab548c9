"""What the deployment guides say, read from their files, and processes that run as they say."""

from __future__ import annotations

import dataclasses
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What one supervisor is told about a worker."""

    command: list[str]
    environment: dict[str, str]
    stop_seconds: float
    """How long a process may take to stop before it is killed."""
    probes: dict[str, str] = field(default_factory=dict)
    """The path of each kind of probe."""


def systemd_unit() -> dict[str, list[str]]:
    """The settings of the unit file; some occur more than once."""
    settings: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / "order-worker@.service").read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


def of_systemd() -> Guide:
    unit = systemd_unit()
    return Guide(
        command=unit["ExecStart"][0].split(),
        environment=dict(each.split("=", 1) for each in unit["Environment"]),
        stop_seconds=float(unit["TimeoutStopSec"][0]),
    )


def documents_of(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))


def of_compose() -> Guide:
    worker = documents_of("docker/compose.yaml")[0]["services"]["worker"]
    command = re.search(r"^CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    assert command is not None
    return Guide(
        command=yaml.safe_load(command[1]),
        environment=worker["environment"],
        stop_seconds=float(worker["stop_grace_period"].removesuffix("s")),
    )


def dockerfile() -> str:
    return (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")


def of_kubernetes(name: str) -> Guide:
    pod = documents_of(f"kubernetes/{name}")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
        if f"{kind}Probe" in container
    }
    return Guide(
        command=container["command"],
        environment={each["name"]: each["value"] for each in container["env"]},
        stop_seconds=pod["terminationGracePeriodSeconds"],
        probes=probes,
    )


def of_web() -> Guide:
    """The application's manifest, whose port a test chooses."""
    guide = of_kubernetes("web.yaml")
    command = [re.sub("--port=.*", "--port=PORT", word) for word in guide.command]
    return dataclasses.replace(guide, command=command)


WORKERS: Mapping[str, Callable[[], Guide]] = {
    "systemd": of_systemd,
    "compose": of_compose,
    "kubernetes": lambda: of_kubernetes("worker.yaml"),
    "kubernetes, one worker": lambda: of_kubernetes("one-worker.yaml"),
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _program(name: str) -> list[str]:
    """A program of the guides, from the environment that the tests run in."""
    match Path(name).name:
        case "python":
            return [sys.executable]
        case "uvicorn" | "gunicorn":
            return [sys.executable, "-m", name]
        case _:
            return [name]


class Process:
    """One process under a guide's settings, with storage and port of this test."""

    def __init__(
        self, guide: Guide, folder: Path, *, command: list[str] | None = None, **environment: str
    ) -> None:
        self.guide, self.port, self.folder = guide, free_port(), folder
        environment = {
            **guide.environment,
            "STORAGE": f"sqlite:///{folder}/orders.db",
            "PROBE_PORT": str(self.port),
            "HOME": str(folder),  # where servers put files of their own
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        words = command or guide.command
        self.log = folder / f"log-{self.port}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *_program(words[0]),
                    *(word.replace("PORT", str(self.port)) for word in words[1:]),
                ],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """Ask it to stop, as every supervisor does, and wait as long as the guide says."""
        self.ask_to_stop()
        return self.wait_for_end()

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def wait_for_end(self) -> int:
        return self._process.wait(self.guide.stop_seconds)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self, path: str, data: bytes | None = None) -> tuple[int, str]:
        """Status and text of an answer over HTTP; 0 if there is none."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", data, timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def until_answer(self, path: str, status: int = 200) -> None:
        self.until(lambda: self.answer(path)[0] == status, f"{path} does not answer {status}")

    def until(self, holds: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < end, f"{problem}: {self.said()}"
            assert self._process.poll() is None, f"it ended: {self.said()}"
            time.sleep(0.02)


@contextmanager
def ended(*processes: Process) -> Iterator[list[Process]]:
    """A list of processes; what stands in it at the end is ended."""
    running = list(processes)
    try:
        yield running
    finally:
        for process in running:
            process.kill()


def install(folder: Path, *, orders: str | None = None) -> Path:
    """What a deployment copies to a machine; with other orders where a test says so."""
    for file in DEPLOY.glob("*.py"):
        shutil.copy(file, folder)
    if orders is not None:
        (folder / "orders.py").write_text(orders, encoding="utf-8")
    return folder
