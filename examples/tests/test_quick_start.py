"""The two programs of the quick start, with a worker that is killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import perdure
import pytest

PROGRAMS = Path(__file__).parents[1] / "quick-start"


def begin(program: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / program)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """The lines that it prints, up to the one with this text."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if wanted in line:
            return lines
    raise AssertionError(f"it ended without {wanted!r}: {lines}")


def until_asleep(directory: Path) -> None:
    """Wait until the order sleeps: its timer and what was packed are in the file."""
    with perdure.BlockingClient.open(f"sqlite:///{directory}/orders.db") as client:
        end = time.monotonic() + 60
        while True:
            history = client.read_execution_history("order-1", 1)
            if any(event.kind == "TimerCreated" for event in history):
                return
            assert time.monotonic() < end, history
            time.sleep(0.02)


@pytest.mark.slow
def test_an_order_survives_the_worker_that_ran_it(tmp_path: Path) -> None:
    processes: list[subprocess.Popen[str]] = []
    try:
        first, starter = begin("worker.py", tmp_path), begin("start.py", tmp_path)
        processes += [first, starter]
        lines_until(first, "packing the")
        until_asleep(tmp_path)
        first.send_signal(signal.SIGKILL)
        first.wait()
        second = begin("worker.py", tmp_path)
        processes.append(second)
        told, _ = starter.communicate(timeout=90)
        said = lines_until(second, "sending a parcel of 2")
        again = begin("start.py", tmp_path)
        processes.append(again)
        told_again, _ = again.communicate(timeout=90)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    assert told == "sent: lamp, packed, desk, packed\n"
    assert said == ["the worker runs; stop it with Ctrl-C", "sending a parcel of 2"]
    assert told_again == "order-1 was started before\nsent: lamp, packed, desk, packed\n"
