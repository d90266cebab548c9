"""How many bytes of payloads a runtime holds, and how many it may.

The limit has shares, so that none of them waits for another:

    half       activities: the input from the lease until the function has ended, then the result
               until a commit has stored it
    a sixth    leased instances: messages that are to be delivered, and what executions were given
    a sixth    cached executions, which also have what the leased instances leave
    a sixth    turns that are being made and committed, which need a multiple: `payload_budget`

A share takes in what fits. What is larger than a share by itself goes alone. How large the work in
a storage is shows only once it is leased: a lease call therefore asks for as few as would fit if
all were as large as the largest of late, and what does not fit all the same is given back at once,
uncounted. A share that has room for none is not leased for until something of it has ended.

Payloads below `LARGE` count as nothing, because a full set of them is small against the limit.
Sizes are those of the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager

LARGE = 32 * 1024
"""In bytes; what is smaller does not count."""
_FIRST_CALL = 8
"""How many the first lease call asks for at most, because no size is known yet."""


def counted(size: int) -> int:
    """What a payload of this size counts as."""
    return size if size >= LARGE else 0


class Share:
    """A share of the limit, and how much of it is in use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self._expected = max(1, limit // _FIRST_CALL)
        """How large the next leased work may be."""
        self.when_freed: Callable[[], None] = _do_nothing
        """Called when there may be room again."""

    def fits(self, size: int) -> bool:
        """Whether so much may be taken in."""
        return not self.in_use or self.in_use + size <= self.limit

    def take(self, size: int) -> None:
        """So much is held from now on."""
        self.in_use += size

    def give(self, size: int) -> None:
        """So much is held no more."""
        had_room = self.room
        self.in_use -= size
        if not had_room and self.room:
            self.when_freed()

    @property
    def room(self) -> int:
        """How many a lease call may ask for."""
        rest = (self.limit - self.in_use) // self._expected
        return max(rest, 0 if self.in_use else 1)

    @contextmanager
    def asked_for(self, count: int) -> Generator[None]:
        """Keep room for what a lease call may return, while it is under way."""
        size = count * self._expected
        self.in_use += size
        try:
            yield
        finally:
            self.in_use -= size

    def found(self, sizes: Collection[int]) -> None:
        """Learn from what a lease call has returned: smaller work counts more with each call."""
        if sizes:
            self._expected = max(1, *sizes, self._expected // 2)


class BytesInFlight:
    """The shares of one runtime."""

    def __init__(self, limit: int) -> None:
        self.activities = Share(limit // 2)
        self.turns = Share(limit // 6)
        self.cached = limit // 6
        """How much cached executions may have been given, at least."""
        self.commits = limit // 36
        """How much the turns that are being made may have to deliver: they need six times as much."""

    @property
    def room_for_cached(self) -> int:
        """How much cached executions may have been given now."""
        return self.cached + max(0, self.turns.limit - self.turns.in_use)

    @property
    def in_use(self) -> int:
        """How much of it is in use, without cached executions."""
        return self.activities.in_use + self.turns.in_use


def _do_nothing() -> None:
    """Nothing waits for room."""
