"""How long leases and delays last in the checks of their ends, and short real times that pass."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final

from perdure.contract import LONGEST_LEASE

INSTANT: Final = timedelta(microseconds=1)
"""The shortest span that a clock tells."""

SPANS: Final = (
    INSTANT,
    timedelta(milliseconds=1, microseconds=1),
    timedelta(seconds=1) - INSTANT,
    timedelta(seconds=90, microseconds=1),
    LONGEST_LEASE,
)
"""Each is kept to the microsecond, whatever the storage counts in."""


async def pass_seconds(seconds: float) -> None:
    """Let real time pass that is shorter than the event loop can sleep, while other tasks run."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:  # noqa: ASYNC110 # the loop must not rest
        await asyncio.sleep(0)
