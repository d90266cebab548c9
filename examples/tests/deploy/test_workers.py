"""Workers under the settings of the deployment guides: real processes that are really stopped."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import perdure
import pytest
import yaml

from .guides import (
    DEPLOY,
    PATIENCE_SECONDS,
    WORKERS,
    Guide,
    Process,
    dockerfile,
    documents_of,
    ended,
    install,
    of_kubernetes,
    of_systemd,
    systemd_unit,
)

LEASE_SECONDS = perdure.RuntimeOptions().activity_lease.total_seconds()
LONG_WORK = """
import asyncio
from pathlib import Path

import perdure

app = perdure.Registry()


@app.activity
async def pack(item):
    with open("packing", "a") as lines:
        print(item, file=lines)
    while not Path("may end").exists():
        await asyncio.sleep(0.01)
    return f"{item}, packed"


@app.orchestration
async def deliver(ctx, item):
    parcel = await ctx.schedule_activity(pack, item)
    await ctx.schedule_wait("approval", bool)
    return f"sent: {parcel}"
"""
BLOCKED = """
import time
import perdure

app = perdure.Registry()


@app.activity
async def pack(item):
    open("packing", "a").close()
    time.sleep(600)


@app.orchestration
async def deliver(ctx, item):
    await ctx.schedule_activity(pack, item)
"""


def open_orders(folder: Path) -> perdure.BlockingClient:
    return perdure.BlockingClient.open(f"sqlite:///{folder}/orders.db")


def begun(folder: Path) -> int:
    """How often an activity has begun."""
    file = folder / "packing"
    return len(file.read_text("utf-8").splitlines()) if file.exists() else 0


@pytest.mark.parametrize("guide", WORKERS)
def test_a_guide_gives_a_worker_more_time_than_it_needs_to_stop(guide) -> None:
    told = WORKERS[guide]()

    assert told.stop_seconds >= float(told.environment["SHUTDOWN_GRACE"]) + 5


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["systemd", "compose", "kubernetes"])
def test_a_worker_that_is_stopped_finishes_its_activity_and_another_goes_on(
    guide, tmp_path
) -> None:
    folder = install(tmp_path, orders=LONG_WORK)
    first = Process(WORKERS[guide](), folder)
    with ended(first) as processes, open_orders(folder) as client:
        handle = client.start_orchestration("o-1", "deliver", '"lamp"')
        first.until(lambda: begun(folder) == 1, "it packs nothing")

        first.ask_to_stop()
        first.until(lambda: "got SIGTERM" in first.said(), "it does not stop")
        (folder / "may end").touch()
        assert first.wait_for_end() == 0, first.said()

        assert client.get_queue_depths().worker_queue == 0  # its result is stored
        processes.append(Process(WORKERS[guide](), folder))
        client.raise_event("o-1", "approval", "true")
        assert handle.result(timeout=PATIENCE_SECONDS) == "sent: lamp, packed"
    assert begun(folder) == 1


@pytest.mark.slow
def test_an_activity_that_takes_longer_than_the_grace_period_is_taken_over_at_once(
    tmp_path,
) -> None:
    folder = install(tmp_path, orders=LONG_WORK)
    first = Process(of_systemd(), folder, SHUTDOWN_GRACE="0.1")
    with ended(first) as processes, open_orders(folder) as client:
        handle = client.start_orchestration("o-1", "deliver", '"lamp"')
        first.until(lambda: begun(folder) == 1, "it packs nothing")

        assert first.stop() == 0
        stopped = time.monotonic()
        second = Process(of_systemd(), folder)
        processes.append(second)
        second.until(lambda: begun(folder) == 2, "it packs nothing")
        assert time.monotonic() - stopped < LEASE_SECONDS, "it waited for a lease to run out"
        (folder / "may end").touch()
        client.raise_event("o-1", "approval", "true")

        assert handle.result(timeout=PATIENCE_SECONDS) == "sent: lamp, packed"


@pytest.mark.slow
def test_a_rolling_update_lets_old_and_new_code_run_side_by_side(tmp_path) -> None:
    old_code, new_code = tmp_path / "old", tmp_path / "new"
    for folder in (old_code, new_code):
        folder.mkdir()
    storage = f"sqlite:///{tmp_path}/orders.db"
    guide = of_kubernetes("worker.yaml")
    install(old_code)
    later = (DEPLOY / "orders.py").read_text("utf-8") + SECOND_VERSION
    install(new_code, orders=later)
    old = Process(guide, old_code, STORAGE=storage)
    with ended(old) as processes, perdure.BlockingClient.open(storage) as client:
        old.until_answer(guide.probes["readiness"])
        first = client.start_orchestration("o-1", "deliver", '"lamp"')
        old.until(lambda: waits(client, "o-1"), "the order does not wait")

        new = Process(guide, new_code, STORAGE=storage)
        processes.append(new)
        new.until_answer(guide.probes["readiness"])
        assert old.stop() == 0
        second = client.start_orchestration("o-2", "deliver", '"desk"')
        for order in ("o-1", "o-2"):
            client.raise_event(order, "approval", "true")

        assert first.result(timeout=PATIENCE_SECONDS) == "sent: lamp, packed"
        assert second.result(timeout=PATIENCE_SECONDS) == "sent: desk, packed, checked"
        versions = [client.get_instance_info(o).orchestration_version for o in ("o-1", "o-2")]
        assert versions == ["1.0.0", "2.0.0"]


SECOND_VERSION = """

@app.orchestration(name="deliver", version="2.0.0")
async def deliver_2(ctx: perdure.OrchestrationContext, item: str) -> str:
    parcel = await ctx.schedule_activity(pack, item)
    await ctx.schedule_wait("approval", bool)
    return await ctx.schedule_activity(send, f"{parcel}, checked")
"""


def waits(client: perdure.BlockingClient, instance: str) -> bool:
    events = client.read_execution_history(instance, 1)
    return any(event.kind == "WaitCreated" for event in events)


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["kubernetes", "kubernetes, one worker"])
def test_a_worker_answers_the_probes_of_its_manifest(guide, tmp_path) -> None:
    told = WORKERS[guide]()
    worker = Process(told, install(tmp_path))
    with ended(worker):
        for path in told.probes.values():
            worker.until_answer(path)
        assert worker.answer("/")[0] == 503


@pytest.mark.slow
def test_a_worker_whose_storage_is_gone_is_not_ready_and_lives(tmp_path) -> None:
    worker = Process(of_kubernetes("worker.yaml"), install(tmp_path))
    with ended(worker):
        worker.until_answer("/ready")

        for file in tmp_path.glob("orders.db*"):
            file.unlink()

        worker.until_answer("/ready", 503)
        assert worker.answer("/live")[0] == 200
        assert worker.stop() == 0


@pytest.mark.slow
def test_what_is_no_probe_does_no_harm(tmp_path) -> None:
    worker = Process(of_kubernetes("worker.yaml"), install(tmp_path))
    with ended(worker):
        worker.until_answer("/ready")

        for text in (b"", b"\r\n\r\n", b"x" * 100_000, b"GET /ready"):
            with socket.create_connection(("127.0.0.1", worker.port)) as connection:
                connection.sendall(text)
        silent = socket.create_connection(("127.0.0.1", worker.port))
        with silent:
            assert worker.answer("/ready")[0] == 200
            assert worker.stop() == 0
        assert "Traceback" not in worker.said()


@pytest.mark.slow
def test_systemd_hears_of_the_start_of_signs_of_life_and_of_the_end(tmp_path) -> None:
    with listening(tmp_path) as (heard, environment):
        worker = Process(of_systemd(), install(tmp_path), WATCHDOG_USEC="100000", **environment)
        with ended(worker):
            before = list(iter(heard, "READY=1"))
            assert set(before) <= {"WATCHDOG=1"}
            assert [heard() for _ in range(3)] == ["WATCHDOG=1"] * 3

            worker.ask_to_stop()

            while heard() != "STOPPING=1":
                pass
            assert worker.wait_for_end() == 0


@pytest.mark.slow
def test_a_worker_whose_event_loop_is_blocked_gives_no_sign_of_life_and_dies_with_its_stack(
    tmp_path,
) -> None:
    folder = install(tmp_path, orders=BLOCKED)
    with listening(tmp_path) as (heard, environment):
        worker = Process(of_systemd(), folder, WATCHDOG_USEC="300000", **environment)
        with ended(worker), open_orders(folder) as client:
            client.start_orchestration("o-1", "deliver", '"lamp"')
            worker.until(lambda: (folder / "packing").exists(), "it packs nothing")
            with pytest.raises(TimeoutError):
                hear_to_the_end(heard)

            worker.send(signal.SIGABRT)  # as systemd does

            assert worker.wait_for_end() == -signal.SIGABRT
    assert re.search(r"orders\.py\W+line \d+ in pack", worker.said()), worker.said()


def hear_to_the_end(heard: Callable[[float], str]) -> None:
    """Take what was sent before; raises `TimeoutError` when nothing follows for a second."""
    while True:
        assert heard(1) in ("READY=1", "WATCHDOG=1")


@contextmanager
def listening(folder: Path):
    """What systemd listens with: how to hear the next state, and what it tells a process."""
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)

        def heard(seconds: float = PATIENCE_SECONDS) -> str:
            listener.settimeout(seconds)
            return listener.recv(100).decode()

        yield heard, {"NOTIFY_SOCKET": address}


def test_systemd_knows_every_setting_of_the_unit(tmp_path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not installed here")
    text = (DEPLOY / "systemd" / "order-worker@.service").read_text("utf-8")
    here = text.replace("/srv/orders/.venv/bin/python", sys.executable)
    unit = tmp_path / "order-worker@.service"
    unit.write_text(here.replace("/srv/orders", str(tmp_path)), encoding="utf-8")

    checked = subprocess.run(
        [verify, "verify", str(unit)], capture_output=True, text=True, check=False
    )

    assert checked.stderr == ""
    assert checked.returncode == 0


def test_the_unit_watches_no_more_strictly_than_the_worker_beats() -> None:
    unit = systemd_unit()

    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert float(unit["WatchdogSec"][0]) >= LEASE_SECONDS


@pytest.mark.slow
def test_the_check_of_the_image_succeeds_while_a_worker_lives(tmp_path) -> None:
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", dockerfile(), re.MULTILINE | re.DOTALL)
    assert found is not None
    _, *words = yaml.safe_load(found[1])
    worker = Process(WORKERS["compose"](), install(tmp_path))

    def check() -> int:
        here = [word.replace("8080", str(worker.port)) for word in words]
        done = subprocess.run([sys.executable, *here], capture_output=True, check=False)
        return done.returncode

    with ended(worker):
        worker.until_answer("/live")
        assert check() == 0
        assert worker.stop() == 0
        assert check() == 1


def test_an_image_starts_the_process_without_a_shell() -> None:
    commands = re.findall(r"^(?:CMD|ENTRYPOINT) (.*)$", dockerfile(), re.MULTILINE)

    assert [yaml.safe_load(command) for command in commands] == [["python", "worker.py"]]


def test_an_image_has_the_files_that_it_copies() -> None:
    copied = re.findall(r"^COPY (\S+) ", dockerfile(), re.MULTILINE)

    # The wheels are built, and the modules lie beside the folder here.
    assert copied == ["wheels", "requirements.txt", "*.py"]
    assert (DEPLOY / "docker" / "requirements.txt").exists()


@pytest.mark.parametrize("name", ["worker.yaml", "one-worker.yaml", "web.yaml"])
def test_a_manifest_selects_its_own_pods_and_names_its_ports(name) -> None:
    workload, *others = documents_of(f"kubernetes/{name}")
    labels = workload["spec"]["template"]["metadata"]["labels"]
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    used = {
        probe["httpGet"]["port"] for key, probe in container.items() if key.endswith("Probe")
    } | {port["targetPort"] for other in others for port in other["spec"]["ports"]}
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    selectors += [other["spec"]["selector"] for other in others]

    assert selectors == [labels] * len(selectors)
    assert used == ports


def test_a_guide_that_leaves_too_little_time_would_be_found(tmp_path) -> None:
    worker = Guide(command=["sleep", "60"], environment={}, stop_seconds=0.2)
    process = Process(worker, tmp_path, command=["sh", "-c", "trap '' TERM; echo on; sleep 30"])
    with ended(process):
        process.until(lambda: "on" in process.said(), "it does not begin")
        with pytest.raises(subprocess.TimeoutExpired):
            process.stop()
