"""Shelves: where a row stands that can be leased now, or from some instant on.

Every queue (instances of one name, version and engine, or activities of one name and tag) has
three shelves, and an index holds the rows of each by `ready_at`:

- NOW: ready, whatever the clock says; `ready_at` tells since when
- DUE: nobody holds it, and what it waits for is due at `ready_at`
- HELD: a lease or a delay hides it until `ready_at`, and there is something to take afterwards

So work that is not ready or not served is never looked at, and the first row of a shelf tells
when to look again. A row may be on a shelf too early, since clocks step back and leases are
renewed; whoever takes it looks at it itself, and puts it back where it belongs. It is never on
one too late, except a HELD row whose end a wrong clock has left far in the future: such ends are
void, and the last row of the shelf tells that there are some.
"""

from __future__ import annotations

from typing import Final

from perdure.clock import to_microseconds
from perdure.contract import ALLOWED_SKEW, LONGEST_LEASE, Instant

NOW: Final = 0
DUE: Final = 1
HELD: Final = 2
SHELVES: Final = 4
"""The shelf of a queue and a kind is queue * SHELVES + kind."""

REACH: Final = to_microseconds(LONGEST_LEASE + ALLOWED_SKEW)
"""A lease or a delay that ends later than so long from now is void."""

ALWAYS: Final[Instant] = 2**62
"""Later than every instant."""


def queue_of(shelf: int) -> int:
    """The queue that a shelf belongs to."""
    return shelf // SHELVES


def is_live(end: Instant | None, now: Instant) -> bool:
    """Whether a lease or a delay with this end holds."""
    return end is not None and now < end <= now + REACH


def shelve(
    queue: int,
    *,
    since: Instant | None,
    due: Instant | None,
    held_until: Instant | None,
    released_at: Instant,
    now: Instant,
) -> tuple[int, Instant] | tuple[None, None]:
    """The shelf and `ready_at` of a row that has had something visible `since`, or else is `due`."""
    base = queue * SHELVES
    live = held_until is not None and now < held_until <= now + REACH
    if since is not None:
        if live and held_until is not None:
            return base + HELD, held_until
        return base + NOW, max(since, released_at)
    if due is None:
        return None, None
    if live and held_until is not None and held_until > due:
        return base + HELD, held_until
    return base + DUE, due
