"""The gate that lets one piece of suspected work run isolated: with nothing beside it.

Work that was leased several times without an outcome may be what ended its processes. It runs once
with nothing beside it, so that work which merely shared a process is never blamed. A lease of
suspected work counts against it, so the runtime holds one only to run the work isolated, never to
wait for that: while other work is inside, the suspected work is given back at once, uncounted, and
newcomers are kept out for a while, so that it finds the process empty when it comes again. The
gate opens again soon after the process is empty: the suspected work has come by then, or another
process has it.

A runtime leases nothing that could not begin: not while suspected work runs isolated, and not
before the process is empty. Another process may run that work meanwhile.

Both are bounded. Work that ends its process does so soon, so after a minute of isolation the gate
lets other work in: the suspected work may wait for it. If the process does not become empty in
time, the gate keeps newcomers out for longer the next time, and in proportion more rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract.waiting import first_of

RETURN_AFTER = timedelta(seconds=1)
"""How long suspected work that could not run isolated is given back for."""
_LONGEST_ISOLATION = timedelta(minutes=1)
"""How long suspected work runs isolated; afterwards it goes on beside other work."""
_PATIENCE = to_microseconds(timedelta(seconds=30))
"""How long newcomers are kept out at first; twice as long after each time in vain."""
_LONGEST_PATIENCE = to_microseconds(timedelta(minutes=10))
_WHEN_EMPTY = to_microseconds(RETURN_AFTER + timedelta(seconds=1))
"""How long at most once nothing is inside any more."""
_PERIODS = 10
"""Newcomers are kept out for at most one part in so many of the time."""


class IsolationGate:
    """Counts what runs; `isolated` lets one piece of work run when nothing else does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = 0
        self._turned_away = 0
        """Suspected work that is being given back."""
        self._waiting = 0
        """Other work that is leased and has not begun."""
        self._closed = False
        self._patience = _PATIENCE
        self._emptying_since: Instant | None = None
        self._empty_since: Instant | None = None
        """Since when nothing is inside, while newcomers are kept out."""
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether work may begin now."""
        return not self._closed and (self._emptying_since is None or not self._emptying())

    @property
    def may_lease(self) -> bool:
        """Whether leasing makes sense now: for what may begin, or for what is to run isolated."""
        return not self._closed and (self._inside == 0 or self.is_open)

    async def until_may_lease(self) -> None:
        """Return when leasing makes sense."""
        while not self.may_lease:
            await self._until_changed()

    def try_enter(self) -> bool:
        """Begin a piece of work if it may begin now; `leave` ends it. Otherwise use `entered`."""
        if not self.is_open:
            return False
        self._inside += 1
        return True

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[bool]:
        """Let the work of the block begin once newcomers are let in again.

        Yields False if suspected work runs isolated: that may take long and may end the process,
        so the block then gives its work back, uncounted.
        """
        self._waiting += 1
        try:
            while not self.is_open and not self._closed:
                await self._until_changed()
            if self._closed:
                yield False
                return
        finally:
            self._waiting -= 1
            self._changed.set()
        self._inside += 1
        try:
            yield True
        finally:
            self.leave()

    def leave(self) -> None:
        """End a piece of work."""
        self._inside -= 1
        if self._emptying_since is None and not self._closed:
            return  # nothing waits for it
        if not self._inside and self._emptying_since is not None and self._empty_since is None:
            self._empty_since = self._clock.now()
        self._changed.set()

    @asynccontextmanager
    async def isolated(self) -> AsyncGenerator[bool]:
        """Let the work of the block run isolated; yields False at once if other work is inside.

        The block then gives its work back for `RETURN_AFTER`, uncounted.
        """
        if self._closed or self._inside:
            if not self._kept_out_lately():
                if self._emptying_since is not None and self._empty_since is None:
                    self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
                self._emptying_since = self._clock.now()
                self._empty_since = None
            self._turned_away += 1
            try:
                yield False
            finally:
                self._turned_away -= 1
                self._changed.set()
            return
        self._closed, self._patience = True, _PATIENCE
        self._emptying_since = self._empty_since = None
        opening: asyncio.Task[None] | None = None
        try:
            self._changed.set()
            await self._until_all_are_away()
            opening = asyncio.create_task(self._open_later())
            yield True
        finally:
            if opening is not None:
                opening.cancel()
            if self._closed:
                self._closed = False
                self._changed.set()
            else:
                self.leave()

    async def _open_later(self) -> None:
        """Let other work in beside what runs isolated, which is work as any other then."""
        await self._clock.sleep(_LONGEST_ISOLATION)
        self._closed = False
        self._inside += 1
        self._changed.set()

    async def _until_all_are_away(self) -> None:
        """Let what is leased and has not begun be given back before the process can end."""
        await asyncio.sleep(0)
        while self._turned_away or self._waiting:
            self._changed.clear()
            await self._changed.wait()

    async def _until_changed(self) -> None:
        self._changed.clear()
        left = timedelta(microseconds=self._emptying())
        if self._closed or not left:
            await self._changed.wait()
        else:
            await first_of(self._changed.wait(), self._clock.sleep(left))

    def _emptying(self) -> int:
        """How many microseconds newcomers are still kept out."""
        left = self._left(self._emptying_since, self._patience)
        if self._empty_since is not None:
            left = min(left, self._left(self._empty_since, _WHEN_EMPTY))
        return left

    def _kept_out_lately(self) -> bool:
        return self._left(self._emptying_since, _PERIODS * self._patience) > 0

    def _left(self, since: Instant | None, limit: int) -> int:
        if since is None:
            return 0
        passed = self._clock.now() - since
        # A clock that stepped back must not keep anything out for longer.
        return max(0, limit - passed) if passed >= 0 else 0
