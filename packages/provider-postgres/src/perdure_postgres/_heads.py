"""Where a look for work begins, so that it does not walk over what was taken before.

Work is taken from the head of an index. What was taken leaves dead entries there until vacuum comes,
and as long as a transaction is open elsewhere it cannot: a look would walk over all of them. So a look
that touched many pages tells from which instant on it found live entries, and the next looks begin
there.

Something older may come after that: from a process whose clock is late by more than a second, or by a
transaction that was long under way. A full look finds it, from time to time: at most a twentieth of
the time goes into full looks, and without dead entries each look is a full one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from perdure.contract import Instant

_BETWEEN_FULL_LOOKS: Final = 0.25
_SHARE_OF_FULL_LOOKS: Final = 20
_MOST_REMEMBERED: Final = 100


@dataclass(slots=True)
class _Head:
    """Where the looks of one kind begin."""

    first: Instant
    pause: float
    """Seconds between two full looks."""
    full_at: float
    """When the next one is due, on the clock of this process that never steps."""


class Heads:
    """The heads of the queues of turns or of activities, by what is looked for."""

    def __init__(self) -> None:
        self._heads: dict[str, _Head] = {}

    def first(self, asked: str) -> Instant | None:
        """Where a look that takes nothing begins; None: at the very beginning."""
        head = self._heads.get(asked)
        return None if head is None else head.first

    def next_first(self, asked: str) -> Instant | None:
        """Where a look that takes work begins, which may be the one that looks at everything."""
        head = self._heads.get(asked)
        if head is None:
            return None
        now = time.monotonic()
        if now < head.full_at:
            return head.first
        head.full_at = now + head.pause
        return None

    def pause(self, asked: str) -> float | None:
        """Seconds after which looks that find nothing have to be made again; None: never."""
        head = self._heads.get(asked)
        return None if head is None else head.pause

    def learn(
        self, asked: str, first: Instant | None, *, began_at: Instant | None, took: float
    ) -> None:
        """A look that began at an instant, or at the very beginning, found live entries from `first` on.

        `first` is None if it touched few pages.
        """
        if began_at is None:
            if first is None:
                self._heads.pop(asked, None)
                return
            if len(self._heads) >= _MOST_REMEMBERED:
                self._heads.clear()
            pause = max(_BETWEEN_FULL_LOOKS, _SHARE_OF_FULL_LOOKS * took)
            self._heads[asked] = _Head(first, pause, time.monotonic() + pause)
        elif first is not None and asked in self._heads:
            self._heads[asked].first = first
