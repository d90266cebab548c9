"""Ids of commits and tokens of leases: unique without asking the system for randomness each time."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator


def unique_ids() -> Iterator[str]:
    """Ids that no other process and no other iterator has."""
    prefix = uuid.uuid4().hex
    return (f"{prefix}-{number}" for number in itertools.count())
