"""Whether a lease or a delay is in force; the same for all providers."""

from __future__ import annotations

from typing import Final

from perdure.clock import Instant, to_microseconds
from perdure.records.limits import ALLOWED_SKEW, LONGEST_LEASE

FARTHEST_END: Final = to_microseconds(LONGEST_LEASE + ALLOWED_SKEW)
"""In microseconds from now: a lease or a delay that ends later is void."""


def is_in_force(end: Instant | None, now: Instant) -> bool:
    """Whether a lease or a delay with this end is in force at `now`.

    An end beyond `FARTHEST_END` was written by a clock that has stepped back since, and is void.
    None means no end, and is never in force.
    """
    return end is not None and now < end <= now + FARTHEST_END
