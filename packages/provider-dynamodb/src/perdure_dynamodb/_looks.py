"""What a look for turns and a look for activities have in common.

A look keeps what it has found so far. If a request fails half-way, the look returns what it has
leased until then; what it may have leased besides is given back, uncounted (CALL-10).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from perdure.clock import Instant, to_microseconds
from perdure.errors import ProviderError

from perdure_dynamodb._keys import Range
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._values import Row

_LOGGER = logging.getLogger("perdure.dynamodb")


class LeaseRequest(Protocol):
    """What the requests for turns and for activities have in common."""

    @property
    def token(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def unregistered_for(self) -> timedelta | None: ...


Q = TypeVar("Q", bound=LeaseRequest)
L = TypeVar("L")
"""A lease by name."""
T = TypeVar("T")
"""What was leased, as the call returns it."""


class LeaseHolder(Protocol[L]):
    """What remembers the leases that could not be given back."""

    def claim_unreturned(self, token: str) -> set[L]: ...
    async def give_back(self, leases: Iterable[L]) -> None: ...


@dataclass(slots=True)
class Found(Generic[Q, L, T]):
    """What a look has found so far."""

    request: Q
    now: Instant
    begun: set[L]
    """Leases that the call took or may have taken."""
    leased: list[T] = field(default_factory=list[T])
    under_way: list[asyncio.Task[Lock | None]] = field(
        default_factory=list["asyncio.Task[Lock | None]"]
    )
    """Locks whose staged commit is carried out beside the look."""
    empty: set[str] | None = field(init=False, default=None)
    """The shards that hold nothing at all, where that is worth knowing."""

    def __post_init__(self) -> None:
        if self.request.unregistered_for is not None:
            self.empty = set()

    @property
    def room(self) -> int:
        return self.request.limit - len(self.leased)

    @property
    def unregistered_before(self) -> Instant:
        """What does not match is wanted where it waits since this instant or longer."""
        return self.now - to_microseconds(self.request.unregistered_for or timedelta(0))


async def carry_out(
    found: Found[Q, L, T],
    look: Callable[[], Awaitable[None]],
    *,
    what: str,
    leases: LeaseHolder[L],
    refresh: Callable[[], Awaitable[object]],
    lease_of: Callable[[T], L],
) -> Sequence[T]:
    """Look, and return what was leased; raises only if nothing was. `what` is for the log."""
    found.begun |= leases.claim_unreturned(found.request.token)
    try:
        await leases.give_back(())
        await refresh()
        await look()
    except ProviderError as error:
        if not found.leased:
            await leases.give_back(found.begun)
            raise
        _LOGGER.warning("a look for %s ended early: %s", what, error)
    await leases.give_back(found.begun - {lease_of(each) for each in found.leased})
    return tuple(found.leased)


async def scan_until_full(
    found: Found[Q, L, T],
    scan: QueueScan,
    partitions: Sequence[str],
    ranges: Sequence[Range],
    take: Callable[[Sequence[Row]], Awaitable[None]],
) -> bool:
    """Take from the rows of a scan while there is room; returns whether the scan came to its end."""
    rounds = scan.rounds(partitions, ranges, room=found.room, empty=found.empty)
    async with aclosing(rounds):
        async for rows in rounds:
            await take(rows)
            if found.room <= 0:
                return False
    return True
