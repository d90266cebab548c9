"""How long leases and delays last in the checks of their ends: short, odd and long."""

from __future__ import annotations

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
