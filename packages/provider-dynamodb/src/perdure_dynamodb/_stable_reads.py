"""Reads of several items of an instance that may be deleted, or pruned, in between.

A reader begins with the lock item. A deletion takes that away first and then removes the rest, piece
by piece. So whatever a reader has put together is right if the lock item still is of the same
incarnation afterwards, with the same first execution. In the same way it tells whether values are
those of one commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.errors import StorageCorrupt, StorageUnavailable

from perdure_dynamodb._locks import Lock

T = TypeVar("T")

_MOST_ATTEMPTS = 20


def always(lock: Lock | None) -> bool:
    """Look at the lock item again after every read of an instance that exists."""
    return lock is not None


def where_incomplete(lock: Lock | None) -> bool:
    """Look at the lock item again only where something is missing."""
    del lock
    return False


def whose_payloads(lock: Lock) -> object:
    """What decides which payloads there are."""
    return lock.incarnation, lock.first_execution, lock.custom_status_version


def at_which_commit(lock: Lock) -> object:
    """The incarnation and its last commit."""
    return lock.incarnation, lock.last_commit


async def read_stably(
    find: Callable[[], Awaitable[Lock | None]],
    read: Callable[[Lock | None], Awaitable[T]],
    *,
    again: Callable[[Lock | None], bool],
    identity: Callable[[Lock], object] = whose_payloads,
) -> T:
    """What `read` makes of the lock that `find` gives.

    `again` says whether to look at it again, and `identity` what must not have changed then.
    """
    for _ in range(_MOST_ATTEMPTS):
        lock = await find()
        try:
            result = await read(lock)
        except StorageCorrupt:
            if _is_same(lock, await find(), identity):
                raise
            continue
        if not again(lock) or _is_same(lock, await find(), identity):
            return result
    raise StorageUnavailable(
        f"an instance was changed {_MOST_ATTEMPTS} times while it was read; try again",
        operation="read",
    )


def _is_same(before: Lock | None, after: Lock | None, identity: Callable[[Lock], object]) -> bool:
    if before is None or after is None:
        return before is after
    return identity(before) == identity(after)
