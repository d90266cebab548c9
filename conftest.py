"""What all tests of the workspace need."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made is a matter of the machine, and of what else runs on it.
settings.register_profile("workspace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("workspace")


WORKERS_PER_CORE = 2.5
"""Tests wait for DynamoDB Local, other processes and files for half of their time, and not evenly."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many workers `--numprocesses=auto` means."""
    return int(WORKERS_PER_CORE * (os.cpu_count() or 1))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first, so that no worker is alone with one at the end.

    The suite on DynamoDB Local is first, and stays together: most of its time passes in one process,
    which serves several workers hardly faster than one.
    """
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.path.name == "test_conformance_local.py":
        return 0
    return 1 if item.get_closest_marker("slow") else 2


def pytest_collection_finish() -> None:
    """Leave the collected tests out of garbage collections.

    There are thousands, they all stay until the end, and looking at them again and again takes a
    sixth of the run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def hear_interrupts() -> None:
    """Hear SIGINT as in a terminal; a shell that runs the tests in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
