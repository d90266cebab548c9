"""The leases of activities while they run: renewing them, and seeing that they are gone.

Both are called again and again for everything that runs, so they cost as little as may be: locks
are read at half the price, the index entry moves only when it must, and where nothing was
committed no activity is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import ActivityLease, is_in_force

from perdure_dynamodb._activity_items import key_of_work
from perdure_dynamodb._activity_memory import WANTED, ActivityMemory, KnownActivity
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import leased_until
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Key, Update, each_apart
from perdure_dynamodb._values import Plain


class Heartbeats:
    """The running activities of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        memory: ActivityMemory,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._staged = staged_commits
        self._known = memory

    async def renew(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        """Extend leases that stand; returns those lost, cancelled or void."""
        instances = tuple(dict.fromkeys(lease.instance for lease in leases))
        locks = await self._changes.read_sound_locks(instances, consistent=False)
        kept = await each_apart(self._renew(lease, locks, lease_for) for lease in leases)
        return frozenset(lease for lease, is_kept in zip(leases, kept, strict=True) if not is_kept)

    async def _renew(
        self, lease: ActivityLease, locks: dict[str, Lock], lease_for: timedelta
    ) -> bool:
        lock, now, key = locks.get(lease.instance), self._namespace.now, self._key(lease)
        if lock is None:
            return False
        if not is_in_force(lock.until, now):
            lock = await self._staged.finish(lock)
        if not lock.running:
            return False
        known = await self._know(key)
        if known is None:
            return False
        until = now + to_microseconds(lease_for)
        change, place = "SET unt = :until", known.place
        values: dict[str, Plain] = {
            ":token": lease.token,
            ":inc": lock.incarnation,
            ":exe": lock.execution,
            ":until": until,
        }
        # The index row may stay behind the lease's end, as long as the next renewal comes before
        # its time; what has moved it meanwhile has taken the lease away.
        if not now + to_microseconds(lease_for) // 2 <= place <= until:
            change, place = f"{change}, gsk = :ready", until
            values[":ready"] = known.prefix + leased_until(until, since=known.since)
        kept, _ = await self._table.try_write(
            Update(key=key, change=change, condition=WANTED, values=values)
        )
        if kept:
            self._known.renewed(key, replace(known, token=lease.token, until=until, place=place))
        return kept

    async def gone(self, leases: Sequence[ActivityLease]) -> frozenset[ActivityLease]:
        """Those that are lost, cancelled or void; cheap where nothing has changed.

        A commit raises the turn number of the lock item, so an activity's own item is read only
        where that has changed, or where another process may have taken the lease over.
        """
        instances = tuple(dict.fromkeys(lease.instance for lease in leases))
        locks = await self._changes.read_sound_locks(instances, consistent=False)
        now = self._namespace.now
        unsure = [
            lease
            for lease in leases
            if (lock := locks.get(lease.instance)) is not None
            and lock.running
            and not self._known.is_sure_of(lease, self._key(lease), lock, now)
        ]
        rows = await self._table.get_many(map(self._key, unsure))
        lost: set[ActivityLease] = set()
        for lease in unsure:
            row, lock = rows.get(self._key(lease)), locks[lease.instance]
            if row is None or row.text_or_none("tok") != lease.token or lock.validity.voids(row):
                lost.add(lease)
            else:
                self._known.seen(lease, lock)
        return frozenset(
            lease
            for lease in leases
            if lease in lost or (lock := locks.get(lease.instance)) is None or not lock.running
        )

    async def _know(self, key: Key) -> KnownActivity | None:
        known = self._known.get(key)
        if known is None:
            row = await self._table.get(*key)
            known = None if row is None else KnownActivity.of(row)
        return known

    def _key(self, lease: ActivityLease) -> Key:
        return key_of_work(self._namespace, lease)
