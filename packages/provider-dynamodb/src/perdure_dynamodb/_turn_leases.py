"""Turn leases that were given: renewing them and letting them go.

A lease that ends says where its instance stands next in the queue of turns: at the end of a delay;
among those that are ready, where messages are left or may have come; or nowhere, under the condition
that no signal came since the mailbox was read (see `signals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import ParkedMark, TurnLease, TurnRelease
from perdure.errors import ProviderError

from perdure_dynamodb._keys import locked_until, open_since, prefix_of, waits_since
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._listed import parked_item
from perdure_dynamodb._locks import (
    LEASE_STANDS,
    PARKING,
    PARKING_AGAIN,
    SAME_REASON,
    Lock,
    parking_values,
    unsignalled,
)
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import Put, Update, each_apart
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._unreturned_leases import UnreturnedLeases
from perdure_dynamodb._values import Item, Plain, Row

_MOST_ATTEMPTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How a lease ends."""

    counted: bool = True
    delay: timedelta = timedelta(0)
    parked: ParkedMark | None = None
    undone: bool = False
    """As if it had never been taken: the instance keeps its age in the queue."""


_UNDONE = _End(counted=False, undone=True)


class TurnLeases:
    """The turn leases of one namespace."""

    def __init__(self, namespace: Namespace, memory: LeaseMemory) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._memory = memory
        self._unreturned: UnreturnedLeases[TurnLease] = UnreturnedLeases(self.undo)

    async def renew(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Extend leases that stand; returns those that are gone."""
        kept = await each_apart(self.extend(lease, lease_for) for lease in leases)
        return frozenset(lease for lease, is_kept in zip(leases, kept, strict=True) if not is_kept)

    async def stands(self, lease: TurnLease) -> bool:
        """Whether no other process has taken the lease over; True where that is not known."""
        with suppress(ProviderError):
            row = await self._table.get(*self._namespace.lock_key(lease.instance))
            return row is not None and row.text_or_none("tok") == lease.token
        return True

    async def extend(self, lease: TurnLease, lease_for: timedelta) -> bool:
        """Extend a lease if it stands."""
        known = self._memory.get(lease.instance, lease.token)
        moves = known is not None and not known.stands_well(self._namespace.now, lease_for)
        kept, row = await self._extend(lease, lease_for, known if moves else None)
        if kept and known is None and row is not None:
            known = RememberedLease.of(Lock(lease.instance, row), lease_for)
            if not known.stands_well(self._namespace.now, lease_for):
                kept, _ = await self._extend(lease, lease_for, known)
        if not kept:
            self._memory.end(lease.instance, lease.token)
        return kept

    async def release(self, release: TurnRelease) -> None:
        """Give a lease back, if it stands; one that was taken over is at most uncounted."""
        end = _End(counted=release.counted, delay=release.delay, parked=release.parked)
        await self._let_go(release.lease, end)

    async def give_back(self, leases: Iterable[TurnLease]) -> None:
        """Undo leases as if they had never been taken, now or as soon as the store answers."""
        await self._unreturned.give_back(leases)

    def claim_unreturned(self, token: str) -> set[TurnLease]:
        """The leases under a token that asks again, which could not be given back before."""
        return self._unreturned.claim(token)

    async def undo(self, lease: TurnLease) -> None:
        """Give a lease back as if it had never been taken."""
        await self._let_go(lease, _UNDONE)

    async def leave(self, lock: Lock) -> None:
        """Take an instance out of the queue whose lease ran out and which has no messages.

        The lease goes on to stand; a message that comes puts the instance back.
        """
        values: dict[str, Plain] = {
            ":token": lock.token or "",
            ":turn": lock.turn,
            ":until": lock.until or 0,
        }
        conditions = [LEASE_STANDS, "trn = :turn AND unt = :until"]
        conditions.append(unsignalled(lock.signals, values))
        await self._table.try_write(
            Update(
                key=self._namespace.lock_key(lock.instance),
                change="REMOVE gpk, gsk",
                condition=" AND ".join(conditions),
                values=values,
            )
        )

    async def _extend(
        self, lease: TurnLease, lease_for: timedelta, moved: RememberedLease | None
    ) -> tuple[bool, Row | None]:
        until = self._namespace.now + to_microseconds(lease_for)
        change = "SET unt = :until"
        values: dict[str, Plain] = {":until": until, ":token": lease.token}
        if moved is not None:
            change += ", gpk = :queue, gsk = :place"
            values[":queue"] = self._namespace.turn_queue(lease.instance)
            values[":place"] = moved.prefix + locked_until(until, since=moved.since)
        kept, row = await self._table.try_write(
            Update(
                key=self._namespace.lock_key(lease.instance),
                change=change,
                condition=LEASE_STANDS,
                values=values,
            )
        )
        if kept and moved is not None:
            moved.place_until = until
        return kept, row

    async def _let_go(self, lease: TurnLease, end: _End) -> None:
        known, mark = self._memory.get(lease.instance, lease.token), None
        if known is None or end.parked is not None:
            row = await self._table.get(*self._namespace.lock_key(lease.instance))
            if row is None:
                return
            if end.parked is not None:
                mark = parked_item(self._namespace, Lock(lease.instance, row))
            place = row.text_or_none("gsk") or ""
            prefix = prefix_of(place) or Lock(lease.instance, row).prefix
            since = waits_since(place) if place else None
        else:
            prefix, since = known.prefix, known.since
        signals = None if known is None or known.leaves(()) else known.signals
        age = since if end.undone else None
        is_done, row, parking = False, None, PARKING
        for _ in range(_MOST_ATTEMPTS):
            update = self._letting_go(lease, end, prefix, age, signals, parking)
            is_done, row = await self._try(update, mark)
            if is_done or row is None or row.text_or_none("tok") != lease.token:
                break
            if signals is not None and (row.number_or_none("sig") or 0) != signals:
                signals = None
            else:
                parking = PARKING_AGAIN
        # A repeat, for want of an answer, may meet its own effect: then another token, or none,
        # is the one that was taken over.
        if not is_done and not end.counted and row is not None:
            await self._uncount(lease, row)
        self._memory.end(lease.instance, lease.token)

    async def _try(self, update: Update, mark: Item | None) -> tuple[bool, Row | None]:
        """One change of the lock item, with the item by which parked instances are listed."""
        if mark is None:
            return await self._table.try_write(update)
        try:
            await self._table.transact([update, Put(item=mark)])
        except TransactionCancelled as error:
            return False, error.reasons[0].item
        return True, None

    def _letting_go(
        self,
        lease: TurnLease,
        end: _End,
        prefix: str,
        age: int | None,
        signals: int | None,
        parking: str,
    ) -> Update:
        """The end of a lease; `signals` is so many as there may be if nothing is left."""
        now = self._namespace.now
        sets, removes, conditions = ["trn = trn + :one"], ["tok", "unt"], [LEASE_STANDS]
        values: dict[str, Plain] = {":one": 1, ":token": lease.token}
        if not end.undone:
            sets.append("rel = :now")
            values[":now"] = now
        if not end.counted:
            sets.append("att = att - :one")
        if end.delay > timedelta(0):
            sets += ["hid = :hidden", "gpk = :queue", "gsk = :place"]
            values[":hidden"] = hidden = now + to_microseconds(end.delay)
            values[":place"] = prefix + locked_until(hidden, since=None)
        elif signals is None:
            sets += ["gpk = :queue", "gsk = :place"]
            values[":place"] = prefix + open_since(age or now)
        else:
            removes += ["gpk", "gsk"]
            conditions.append(unsignalled(signals, values))
        if ":place" in values:
            values[":queue"] = self._namespace.turn_queue(lease.instance)
        if end.parked is not None:
            sets.append(parking)
            values |= parking_values(end.parked, now)
            if parking == PARKING:
                conditions.append(SAME_REASON)
        return Update(
            key=self._namespace.lock_key(lease.instance),
            change=f"SET {', '.join(sets)} REMOVE {', '.join(removes)}",
            condition=" AND ".join(conditions),
            values=values,
        )

    async def _uncount(self, lease: TurnLease, row: Row) -> None:
        """Let a lease that was taken over, while its holder lived, not count as an attempt."""
        if Lock(lease.instance, row).taken_from == lease.token:
            await self._table.try_write(
                Update(
                    key=self._namespace.lock_key(lease.instance),
                    change="SET att = att - :one REMOVE tkf",
                    condition="tkf = :token",
                    values={":one": 1, ":token": lease.token},
                )
            )
