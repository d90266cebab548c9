"""Room for activities by kind: async ones share the event loop, blocking ones need a thread each.

The runtime leases an activity only if it can begin at once. So no leased activity waits in a queue
of this process while another process is idle, and an activity takes the time of its function.

The queue gives the oldest activities first, so a large fan-out would take every slot until it ends.
Therefore a share of the slots is left to instances of which no activity runs here: the commit that
adds one takes a slot of the share, and the activity never waits in the queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

from perdure.authoring.catalog import Catalog
from perdure.contract.notifier import Subscription
from perdure.model.record import record
from perdure.runtime.bytes_in_flight import Share
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.threads import ThreadPool

_LARGEST_LEASE_CALL = 100
_SHARE = 16
"""One slot of so many is left to instances without a running activity. Threads are too few."""


class Kind(Enum):
    """What an activity needs to run."""

    ASYNC = "the event loop"
    BLOCKING = "a thread"

    # By identity, as members compare: the hash of `Enum` is a call of its own, at every step.
    __hash__ = object.__hash__


@record(kw_only=False)
class Room:
    """What the next lease call may ask for."""

    kinds: frozenset[Kind]
    names: frozenset[str]
    limit: int


class Slots:
    """How many activities of each kind run, and how many more may."""

    def __init__(
        self, catalog: Catalog, options: RuntimeOptions, threads: ThreadPool, in_flight: Share
    ) -> None:
        self._kinds = {
            name: Kind.ASYNC if definition.asynchronous else Kind.BLOCKING
            for name, definition in catalog.served_activities()
        }
        self._names = {
            kind: frozenset(name for name, its_kind in self._kinds.items() if its_kind is kind)
            for kind in set(self._kinds.values())
        }
        self._limits = {
            Kind.ASYNC: options.max_concurrent_activities,
            Kind.BLOCKING: options.activity_threads,
        }
        self._left = {
            Kind.ASYNC: options.max_concurrent_activities // _SHARE,
            Kind.BLOCKING: 0,
        }
        self._threads = threads
        threads.when_freed = lambda: self.freed(Kind.BLOCKING)
        self._in_flight = in_flight
        in_flight.when_freed = self._tell_of_room
        self._taken: Counter[Kind] = Counter()
        self.is_backlogged = False
        """Whether the queue has more than there is room for: the last call for all kinds found as much
        as it asked for, or a commit added what got no slot."""
        self._freed = asyncio.Event()
        self.waiter: Subscription | None = None
        """Notified when a kind that was full has room again."""

    def kind(self, name: str) -> Kind:
        """What the registered activity of this name needs."""
        return self._kinds[name]

    def free(self, kind: Kind) -> int:
        """How many more of this kind may begin."""
        free = self._limits[kind] - self._taken[kind]
        if kind is Kind.BLOCKING:
            free -= self._threads.abandoned
        return free if free > 0 else 0

    def spare(self, kind: Kind) -> int:
        """How many more may begin from the queue, or of an instance that has one running."""
        return max(0, self.free(kind) - self._left[kind])

    def take(self, name: str) -> None:
        """One of this name begins, or is about to."""
        self._taken[self._kinds[name]] += 1

    def give(self, name: str) -> None:
        """It has ended, or will not begin."""
        kind = self._kinds[name]
        self._taken[kind] -= 1
        self.freed(kind)

    def freed(self, kind: Kind) -> None:
        """There may be room again."""
        if self.spare(kind) == 1:
            self._tell_of_room()

    def _tell_of_room(self) -> None:
        self._freed.set()
        if self.waiter is not None:
            self.waiter.notify()

    def reserve(self, name: str, *, is_first: bool) -> bool:
        """Take a slot for one of this name if there is one; is no other of its instance running?"""
        kind = self._kinds[name]
        has_room = (self.free(kind) if is_first else self.spare(kind)) > 0
        if has_room:
            self._taken[kind] += 1
        else:
            self.is_backlogged = True  # it goes to the queue
        return has_room

    async def wait(self) -> None:
        """Return when something could be leased; at once where nothing is registered."""
        while self._names and not (
            self._in_flight.room and any(self.spare(kind) for kind in self._names)
        ):
            self._freed.clear()
            await self._freed.wait()

    @property
    def names_with_room(self) -> frozenset[str]:
        """The names of what could begin now."""
        return frozenset(name for name, kind in self._kinds.items() if self.spare(kind))

    @property
    def has_room_for_all(self) -> bool:
        """Whether every registered kind has room, so that one call may ask for all names."""
        return all(self.spare(kind) for kind in self._names)

    def everything(self) -> Room:
        """Ask for all names, whatever room there is."""
        kinds = frozenset(self._names)
        spare = [self.spare(kind) for kind in kinds]
        return Room(
            kinds, frozenset(self._kinds), self._bounded(min(spare, default=_LARGEST_LEASE_CALL))
        )

    def next_room(self) -> Room:
        """What to ask for: no more than each kind of it has room for.

        One call serves all kinds that have room. If there is a backlog, every second call asks
        for the roomier kind alone, so that few free threads don't delay async activities.
        """
        spare = {kind: room for kind in self._names if (room := self.spare(kind))}
        if len(spare) < len(self._names) or (self.is_backlogged and len(set(spare.values())) > 1):
            kind = max(spare, key=spare.__getitem__)
            return Room(frozenset({kind}), self._names[kind], self._bounded(spare[kind]))
        return self.everything()

    def note_found(self, room: Room, count: int) -> None:
        """Say how many activities a lease call found."""
        asked_for_all = len(room.kinds) == len(self._names)
        self.is_backlogged = asked_for_all and count >= room.limit

    @contextmanager
    def asked_for(self, room: Room) -> Generator[None]:
        """Keep the room while a lease call is under way: it may return activities of any kind."""
        for kind in room.kinds:
            self._taken[kind] += room.limit
        try:
            with self._in_flight.asked_for(room.limit):
                yield
        finally:
            for kind in room.kinds:
                self._taken[kind] -= room.limit

    def _bounded(self, limit: int) -> int:
        return max(1, min(limit, _LARGEST_LEASE_CALL, self._in_flight.room))
