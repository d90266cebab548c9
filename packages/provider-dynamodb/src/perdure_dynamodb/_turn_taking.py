"""Taking turns: leasing instances that were found, and reading their mailboxes.

A lease is one conditional update of the lock item: it fails when the item is not as it was read, so of
those who found the same instance exactly one gets it (LEASE-18). The mailbox is read after the
lease was taken, so it has all that was acknowledged before. An instance that turns out to have nothing
to do is given back uncounted and in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from perdure.clock import Instant, to_microseconds
from perdure.contract import LeasedTurn, TurnLease, TurnRelease, TurnRequest
from perdure.errors import ProviderError, StorageCorrupt

from perdure_dynamodb._instance_reads import read_state
from perdure_dynamodb._keys import LOCK, due_at, locked_until, waits_since
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._locks import PUT_OFF, RUNNING, Lock, damage_mark
from perdure_dynamodb._looks import Found
from perdure_dynamodb._messages import Delivery, deliver, is_visible, read_mailbox
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import Update, at_once
from perdure_dynamodb._turn_leases import TurnLeases
from perdure_dynamodb._values import Plain, Row

_LOGGER = logging.getLogger("perdure.dynamodb")


@dataclass(slots=True)
class Candidate:
    """An instance that may be ready."""

    instance: str
    since: Instant
    """Since when it waits."""
    rows: list[Row] = field(default_factory=list[Row])

    @property
    def reminders(self) -> list[Row]:
        """The rows that are not the instance's own."""
        return [row for row in self.rows if row.text("sk") != LOCK]


@dataclass(slots=True)
class FoundTurns(Found[TurnRequest, TurnLease, LeasedTurn]):
    """What a look for turns has found so far."""

    seen: set[str] = field(default_factory=set[str])
    unregistered: list[Candidate] = field(default_factory=list[Candidate])

    def serves(self, lock: Lock) -> bool:
        """Whether the caller serves an instance."""
        return self.request.serves.accepts(lock.name, lock.version)


class TurnTaking:
    """Leases instances of one namespace."""

    def __init__(self, namespace: Namespace, leases: TurnLeases, memory: LeaseMemory) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._leases = leases
        self._memory = memory
        self._taking: set[str] = set()
        """Instances that a call of this process is taking now."""

    async def turn_of(self, lock: Lock, found: FoundTurns) -> LeasedTurn:
        """The turn of an instance that the caller has leased already."""
        delivery = await self._read(lock, found)
        return await self._leased(lock, delivery, found, served=found.serves(lock))

    async def take_all(self, locks: Sequence[Lock], found: FoundTurns, *, served: bool) -> None:
        """Lease as many of the instances as there is room for."""
        left = list(locks)
        while left and found.room > 0:
            some, left = left[: found.room], left[found.room :]
            some = [lock for lock in some if lock.instance not in self._taking]
            self._taking |= {lock.instance for lock in some}
            try:
                turns = await at_once(self._take(lock, found, served=served) for lock in some)
            finally:
                self._taking -= {lock.instance for lock in some}
            found.leased += [turn for turn in turns if turn is not None]

    async def _take(self, lock: Lock, found: FoundTurns, *, served: bool) -> LeasedTurn | None:
        """Lease it; what goes wrong with it must not cost the others of this call their leases."""
        lease = TurnLease(instance=lock.instance, token=found.request.token)
        self._memory.attempt(lease.token, lock.instance)
        found.begun.add(lease)
        try:
            turn = await self._try_to_take(lock, lease, found, served=served)
            if turn is None:
                found.begun.discard(lease)
            return turn
        except ProviderError as error:
            if isinstance(error, StorageCorrupt) and not await self._leases.stands(lease):
                # Another process took it over and consumed what this one was reading.
                return None
            _LOGGER.warning("instance %r is put off: %s", lock.instance, error)
            with suppress(ProviderError):
                await self._leases.release(
                    TurnRelease(
                        lease=lease, counted=False, delay=PUT_OFF, parked=damage_mark(error)
                    )
                )
                found.begun.discard(lease)
            return None

    async def _try_to_take(
        self, lock: Lock, lease: TurnLease, found: FoundTurns, *, served: bool
    ) -> LeasedTurn | None:
        if lock.token is not None and await self._has_no_messages(lock, found):
            # The lease that ran out stands until there is work for another.
            await self._leases.leave(lock)
            return None
        is_mine, row = await self._table.try_write(self._leasing(lock, found))
        if row is None or not (is_mine or row.text_or_none("tok") == found.request.token):
            return None
        mine = Lock(lock.instance, row)
        delivery = await self._read(mine, found)
        since = delivery.visible_since
        latest = None if served else found.unregistered_before
        released = row.number_or_none("rel") or 0
        if since is None or (latest is not None and max(since, released) > latest):
            await self._leases.undo(lease)
            return None
        return await self._leased(mine, delivery, found, served=served)

    async def _has_no_messages(self, lock: Lock, found: FoundTurns) -> bool:
        rows = await read_mailbox(self._table, self._namespace.keys.partition(lock.instance))
        return not any(is_visible(row, found.now) and not lock.validity.voids(row) for row in rows)

    def _leasing(self, lock: Lock, found: FoundTurns) -> Update:
        """The lease: the turn number says that nothing happened since the lock was read, but for a
        renewal or a signal."""
        until = found.now + to_microseconds(found.request.lease_for)
        since = found.now if lock.place is None else waits_since(lock.place)
        values: dict[str, Plain] = {
            ":token": found.request.token,
            ":until": until,
            ":queue": self._namespace.turn_queue(lock.instance),
            ":place": lock.prefix + locked_until(until, since=since),
            ":one": 1,
            ":inc": lock.incarnation,
            ":turn": lock.turn,
            ":running": RUNNING,
        }
        unrenewed = "attribute_not_exists(unt)"
        if lock.until is not None:
            unrenewed, values[":was"] = "unt = :was", lock.until
        change = "SET tok = :token, unt = :until, att = att + :one, trn = trn + :one"
        if lock.token is not None:
            change, values[":from"] = f"{change}, tkf = :from", lock.token
        return Update(
            key=self._namespace.lock_key(lock.instance),
            change=f"{change}, gpk = :queue, gsk = :place REMOVE hid",
            condition="inc = :inc AND trn = :turn AND stat = :running"
            f" AND attribute_not_exists(stg) AND {unrenewed}",
            values=values,
        )

    async def _read(self, lock: Lock, found: FoundTurns) -> Delivery:
        """What the mailbox of an instance that was leased holds; remembers the lease with it."""
        known = RememberedLease.of(lock, found.request.lease_for)
        with_timers = known.needs_timers(found.now, timer_signals=lock.timer_signals)
        rows = await read_mailbox(
            self._table, self._namespace.keys.partition(lock.instance), timers=with_timers
        )
        delivery = await deliver(
            self._namespace, rows, instance=lock.instance, validity=lock.validity, now=found.now
        )
        self._namespace.purge.void_rows(delivery.void, lock.validity)
        await self._open_early(lock, delivery)
        known.note(
            delivery,
            signals=lock.signals,
            timer_signals=lock.timer_signals,
            with_timers=with_timers,
        )
        self._memory.put(lock.instance, found.request.token, known)
        return delivery

    async def _open_early(self, lock: Lock, delivery: Delivery) -> None:
        """Put early events into the queue that are due later: nothing else tells of them."""
        queue = self._namespace.turn_queue(lock.instance)
        await at_once(
            self._table.try_write(
                Update(
                    key=(row.text("pk"), row.text("sk")),
                    change="SET gpk = :queue, gsk = :place",
                    condition="attribute_exists(pk)",
                    values={":queue": queue, ":place": lock.prefix + due_at(row.number("due"))},
                )
            )
            for row in delivery.early
        )

    async def _leased(
        self, lock: Lock, delivery: Delivery, found: FoundTurns, *, served: bool
    ) -> LeasedTurn:
        return LeasedTurn(
            state=await read_state(self._table, lock),
            token=found.request.token,
            until=lock.row.number("unt"),
            attempt=lock.attempt,
            messages=delivery.messages,
            more=delivery.more,
            served=served,
        )
