"""What all tests of the workspace need."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made is a matter of the machine, and of what else runs on it.
settings.register_profile("workspace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("workspace")


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
