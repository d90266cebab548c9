"""The ready index: which rows can be leased now, and which from some instant on.

A queue holds the instances of one name, version and engine, or the activities of one name and tag.
Each queue has three buckets, and an index orders the rows of a bucket by `ready_at`:

- READY: something is visible and nothing hides it; `ready_at` is since when
- SCHEDULED: nothing is visible yet; `ready_at` is when the first message or the activity is due
- HIDDEN: a lease or a delay hides the row until `ready_at`, and there is work afterwards

A lease call therefore never reads work that is not ready or that its caller does not register, and
the first row of each bucket tells when to look again.

A row can be in a bucket too early, because clocks step back and leases are renewed: a lease call
checks each row that it reads, and moves it to its right bucket. A row is never in a bucket too
late, with one exception: a clock that was far ahead leaves a HIDDEN row whose end is far in the
future. Such an end is void, and the last row of the bucket shows that there is one.
"""

from __future__ import annotations

from typing import Final

from perdure.contract import Instant, is_in_force

READY: Final = 0
SCHEDULED: Final = 1
HIDDEN: Final = 2
BUCKETS: Final = 4
"""A bucket is stored as queue * BUCKETS + kind."""

ALWAYS: Final[Instant] = 2**62
"""Later than every instant."""


def queue_of(bucket: int) -> int:
    """The queue of a bucket."""
    return bucket // BUCKETS


def bucket_of(
    queue: int,
    *,
    since: Instant | None,
    due: Instant | None,
    held_until: Instant | None,
    released_at: Instant,
    now: Instant,
) -> tuple[int, Instant] | tuple[None, None]:
    """The bucket and `ready_at` of a row; `(None, None)` if nothing is visible or due.

    `since` is when something in the row became visible. If nothing is, `due` is when something
    will be.
    """
    base = queue * BUCKETS
    is_hidden = is_in_force(held_until, now)
    if since is not None:
        if is_hidden and held_until is not None:
            return base + HIDDEN, held_until
        return base + READY, max(since, released_at)
    if due is None:
        return None, None
    if is_hidden and held_until is not None and held_until > due:
        return base + HIDDEN, held_until
    return base + SCHEDULED, due
