"""The leases of activities while they run: renewing them, and seeing that they are gone.

Both are called again and again for everything that runs, so they cost as little as may be: locks
are read at half the price, the index entry moves only when it must, and where nothing was
committed no activity is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.clock import Instant, to_microseconds
from perdure.contract import ActivityLease, is_in_force

from perdure_dynamodb._activity_items import LeasedRows, row_key, wanted, wanted_values
from perdure_dynamodb._activity_memory import ActivityMemory, KnownActivity
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
        self._rows = LeasedRows(namespace, memory)

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
        lock, now = locks.get(lease.instance), self._namespace.now
        if lock is None:
            return False
        if not is_in_force(lock.until, now):
            lock = await self._staged.finish(lock)
        if not lock.running:
            return False
        found = await self._find(lease)
        if found is None:
            return False
        key, known = found
        until = now + to_microseconds(lease_for)
        change, place = "SET unt = :until", known.place
        values: dict[str, Plain] = {
            ":until": until,
            **wanted_values(lease, key, lock.incarnation, lock.execution, lock.life),
        }
        # The index row may stay behind the lease's end, as long as the next renewal comes before
        # its time; what has moved it meanwhile has taken the lease away.
        if not now + to_microseconds(lease_for) // 2 <= place <= until:
            change, place = f"{change}, gsk = :ready", until
            values[":ready"] = known.prefix + leased_until(until, since=known.since)
        kept, _ = await self._table.try_write(
            Update(key=key, change=change, condition=wanted(key), values=values)
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
            and not self._is_sure_of(lease, lock, now)
        ]
        rows = await self._rows.read(unsure)
        lost: set[ActivityLease] = set()
        for lease in unsure:
            row, lock = rows.get(lease), locks[lease.instance]
            if row is None or row.text_or_none("tok") != lease.token or lock.validity.voids(row):
                lost.add(lease)
            else:
                self._known.seen(lease, lock)
        return frozenset(
            lease
            for lease in leases
            if lease in lost or (lock := locks.get(lease.instance)) is None or not lock.running
        )

    async def _find(self, lease: ActivityLease) -> tuple[Key, KnownActivity] | None:
        """Where the activity is, and what is known of it."""
        key = self._rows.key(lease)
        known = None if key is None else self._known.get(key)
        if key is not None and known is not None:
            return key, known
        row = (await self._rows.read([lease])).get(lease)
        return None if row is None else (row_key(row), KnownActivity.of(row))

    def _is_sure_of(self, lease: ActivityLease, lock: Lock, now: Instant) -> bool:
        key = self._rows.key(lease)
        return key is not None and self._known.is_sure_of(lease, key, lock, now)
