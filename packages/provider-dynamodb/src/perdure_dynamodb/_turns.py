"""Turn leases: finding ready instances, leasing, renewing and giving back.

The index only says where to look. A lease is one conditional update of the lock item: it fails
when the item is not as it was read, so of those who found the same instance exactly one gets it
(LEASE-18). The mailbox is read after the lease was taken, so it has all that was acknowledged
before. An instance that turns out to have nothing to do is given back uncounted and in silence.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeAlias

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract import LeasedTurn, Serves, TurnLease, TurnRelease, TurnRequest
from perdure.errors import ProviderError, StorageCorrupt

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import KEEPER, LOCK, Keys, due_at, open_since, ready_time
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._locks import (
    LEASE_STANDS,
    PARKING,
    PARKING_ANEW,
    PUT_OFF,
    RUNNING,
    SAME_REASON,
    Lock,
    damage_mark,
    parking_values,
)
from perdure_dynamodb._messages import Delivery, MessageItems, deliver, read_mailbox
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import (
    READ_BATCH,
    Delete,
    Put,
    Select,
    Table,
    Update,
    at_once,
    each_apart,
)
from perdure_dynamodb._unreturned_leases import UnreturnedLeases
from perdure_dynamodb._values import Plain, Row

MOST_OPENED = 8
"""So many early events are put into the ready queue one by one."""

FROM_OLDEST = 4
"""One of so many instances that a look takes is the oldest, where there are more than it has room
for."""

MOST_UNSERVED = 100
"""So many locks of instances that the caller does not serve are read in one look, unless it has
room for more."""

_FREED = "REMOVE tok, unt"

_LOGGER = logging.getLogger("perdure.dynamodb")

LockKey: TypeAlias = Callable[[str], tuple[str, str]]


@dataclass(slots=True)
class _Candidate:
    """An instance that may be ready."""

    instance: str
    since: Instant
    """Since when its oldest message waits."""
    rows: list[Row] = field(default_factory=list[Row])


@dataclass(slots=True)
class _Found:
    """What a call has found so far."""

    request: TurnRequest
    now: Instant
    begun: set[TurnLease]
    """Leases that the call took or may have taken."""
    leased: list[LeasedTurn] = field(default_factory=list[LeasedTurn])
    seen: set[str] = field(default_factory=set[str])
    unregistered: list[_Candidate] = field(default_factory=list["_Candidate"])
    under_way: list[asyncio.Task[Lock | None]] = field(
        default_factory=list["asyncio.Task[Lock | None]"]
    )
    """Locks whose staged commit is carried out beside the look."""
    keepers: set[str] = field(default_factory=set[str])
    """Instances that a keeper was found of."""

    @property
    def room(self) -> int:
        return self.request.limit - len(self.leased)


class Turns:
    """The turn leases of one namespace."""

    def __init__(
        self,
        table: Table,
        keys: Keys,
        *,
        clock: Clock,
        shards: Shards,
        message_items: MessageItems,
        changes: Changes,
        staged_commits: StagedCommits,
        purge: Purge,
        held: LeaseMemory,
    ) -> None:
        self._table = table
        self._keys = keys
        self._clock = clock
        self._shards = shards
        self._message_items = message_items
        self._changes = changes
        self._staged = staged_commits
        self._purge = purge
        self._held = held
        self._scan = QueueScan(table)
        self._taking: set[str] = set()
        """Instances that a call of this process is just taking: others needn't try."""
        self._looks = random.randrange(FROM_OLDEST)  # noqa: S311 # no secret
        self._unregistered_until: Instant = 0
        """Up to here the last look went through those that it does not serve."""
        self._unreturned = UnreturnedLeases(self._give_back)

    async def lease(self, request: TurnRequest, begun: set[TurnLease]) -> Sequence[LeasedTurn]:
        """Lease ready instances; the leases that the call itself takes are added to `begun`.

        A look that fails half-way returns what it leased until then.
        """
        begun |= self._unreturned.claim(request.token)
        found = _Found(request, self._clock.now(), begun)
        try:
            await self._unreturned.give_back()
            await self._shards.refresh()
            await self._look(found)
        except ProviderError as error:
            if not found.leased:
                await self.give_back(begun)
                raise
            _LOGGER.warning("a look for turns ended early: %s", error)
        await self.give_back(begun - {_lease_of(turn) for turn in found.leased})
        return tuple(found.leased)

    async def _look(self, found: _Found) -> None:
        request = found.request
        await self._find_held(found)
        if found.room > 0:
            rounds = self._scan.rounds(
                self._queues(open_since(0), found.now),
                apart=self._queues(due_at(0), found.now),
                first_page=2 * request.limit,
            )
            try:
                async for rows in rounds:
                    await self._take_from(rows, found)
                    if found.room <= 0:
                        break
            finally:
                await rounds.aclose()
        if found.room > 0 and found.unregistered:
            await self._take_unregistered(found)
        if found.under_way and not found.leased:
            await self._take_finished(found)

    async def _take_finished(self, found: _Found) -> None:
        """Where nothing else is ready, wait for the rest of commits of processes that died."""
        finished = await asyncio.gather(*found.under_way)
        ready = [lock for lock in finished if lock is not None and _is_ready(lock, found)]
        serves = found.request.serves
        served = [lock for lock in ready if serves.accepts(lock.name, lock.version)]
        await self._take_all(served, found, served=True)

    async def renew(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Extend leases that stand; returns those that are gone."""
        kept = await each_apart(self.extend(lease, lease_for) for lease in leases)
        return frozenset(lease for lease, is_kept in zip(leases, kept, strict=True) if not is_kept)

    async def stands(self, lease: TurnLease) -> bool:
        """Whether no other process has taken the lease over; True where that is not known."""
        with suppress(ProviderError):
            row = await self._table.get(*self._lock_key(lease.instance))
            return row is not None and row.text_or_none("tok") == lease.token
        return True

    async def extend(self, lease: TurnLease, lease_for: timedelta) -> bool:
        """Extend a lease if it stands."""
        until = self._clock.now() + to_microseconds(lease_for)
        kept, _ = await self._table.try_write(
            Update(
                key=self._lock_key(lease.instance),
                change="SET unt = :until",
                condition=LEASE_STANDS,
                values={":until": until, ":token": lease.token},
            )
        )
        return kept

    async def release(self, release: TurnRelease) -> None:
        """Give a lease back, if it stands; one that was taken over is at most uncounted."""
        lease, now = release.lease, self._clock.now()
        change = "SET trn = trn + :one, rel = :now"
        values: dict[str, Plain] = {":one": 1, ":now": now, ":token": lease.token}
        if release.delay > timedelta(0):
            change += ", hid = :hidden"
            values[":hidden"] = now + to_microseconds(release.delay)
        if not release.counted:
            change += ", att = att - :one"
        key = self._lock_key(lease.instance)
        plain = Update(key=key, change=change, condition=LEASE_STANDS, values=values)
        if release.parked is None:
            is_done, row = await self._table.try_write(replace(plain, change=f"{change} {_FREED}"))
        else:
            values |= parking_values(release.parked, now)
            same = f"{LEASE_STANDS} AND {SAME_REASON}"
            is_done, row = await self._table.try_write(
                replace(plain, change=f"{change}, {PARKING} {_FREED}", condition=same)
            )
            if not is_done and row is not None:
                is_done, row = await self._table.try_write(
                    replace(plain, change=f"{change}, {PARKING_ANEW} {_FREED}")
                )
        # A repeat, for want of an answer, may meet its own effect: then another token, or none,
        # is the one that was taken over.
        if not is_done and not release.counted:
            await self._uncount(lease, row)
        self._held.end(lease.instance, lease.token)

    async def give_back(self, leases: Iterable[TurnLease]) -> None:
        """Undo leases as if they had never been taken, now or as soon as the store answers."""
        await self._unreturned.give_back(leases)

    async def _give_back(self, lease: TurnLease) -> None:
        is_done, row = await self._table.try_write(
            Update(
                key=self._lock_key(lease.instance),
                change=f"SET att = att - :one, trn = trn + :one {_FREED}",
                condition=LEASE_STANDS,
                values={":one": 1, ":token": lease.token},
            )
        )
        if not is_done:
            await self._uncount(lease, row)
        self._held.end(lease.instance, lease.token)

    async def _uncount(self, lease: TurnLease, row: Row | None) -> None:
        """Let a lease that was taken over, while its holder lived, not count as an attempt."""
        if row is not None and Lock(lease.instance, row).taken_from == lease.token:
            await self._table.try_write(
                Update(
                    key=self._lock_key(lease.instance),
                    change="SET att = att - :one REMOVE tkf",
                    condition="tkf = :token",
                    values={":one": 1, ":token": lease.token},
                )
            )

    def _queues(self, first: str, now: Instant) -> dict[str, Select]:
        return {
            str(shard): Select(
                partition=self._keys.turns(shard),
                first=first,
                last=due_at(now, "~"),
                index=True,
            )
            for shard in self._shards.all
        }

    async def _find_held(self, found: _Found) -> None:
        """What the token has already: an earlier call's answer may have been lost (LEASE-7)."""
        token = found.request.token
        instances = self._held.attempted(token)
        for instance, lock in (await self._finished_locks(instances)).items():
            if lock.held_by(token, found.now) and found.room > 0:
                found.seen.add(instance)
                found.leased.append(await self._turn_of(lock, found))

    async def _take_from(self, rows: Sequence[Row], found: _Found) -> None:
        served: list[_Candidate] = []
        for candidate in self._candidates(rows, found):
            if all(_may_serve(row, found.request.serves) for row in candidate.rows):
                served.append(candidate)
            elif found.request.unregistered_for is not None:
                found.unregistered.append(candidate)
        left, count = self._in_turn(served, found.room), found.room
        while left and found.room > 0:
            some, left = left[:count], left[count:]
            count = min(2 * count, READ_BATCH)
            await self._take_some(some, found)

    def _candidates(self, rows: Sequence[Row], found: _Found) -> list[_Candidate]:
        """The instances that rows of the index speak of, those first that wait longest."""
        candidates: dict[str, _Candidate] = {}
        for row in rows:
            instance = self._keys.instance_of(row.text("pk"))
            if instance not in found.seen:
                since = ready_time(row.text("gsk"))
                candidates.setdefault(instance, _Candidate(instance, since)).rows.append(row)
            if row.text("sk") == KEEPER:
                found.keepers.add(instance)
        found.seen |= candidates.keys()
        return sorted(candidates.values(), key=lambda each: each.since)

    def _in_turn(self, candidates: list[_Candidate], room: int) -> list[_Candidate]:
        """A few of the oldest, then from anywhere: processes that look at the same moment should
        not want the same instances."""
        if len(candidates) <= room:
            return candidates
        self._looks += 1
        few = room // FROM_OLDEST or int(self._looks % FROM_OLDEST == 0)
        oldest, others = candidates[:few], candidates[few:]
        start = random.randrange(len(others))  # noqa: S311 # no secret
        return oldest + others[start:] + others[:start]

    async def _take_some(self, candidates: Sequence[_Candidate], found: _Found) -> None:
        locks = await self._locks(candidates, found)
        for lock in locks.values():
            if lock.held_by(found.request.token, found.now) and found.room > 0:
                found.leased.append(await self._turn_of(lock, found))
        serves = found.request.serves
        served: list[Lock] = []
        for candidate in candidates:
            lock = locks.get(candidate.instance)
            if lock is None or not _is_ready(lock, found):
                continue
            if serves.accepts(lock.name, lock.version):
                served.append(lock)
            elif found.request.unregistered_for is not None:
                found.unregistered.append(candidate)
        await self._take_all(served, found, served=True)

    async def _take_unregistered(self, found: _Found) -> None:
        """Of those that do not match, what waits for long enough; a bounded number in one look."""
        request = found.request
        latest = found.now - to_microseconds(request.unregistered_for or timedelta(0))
        waiting = [each for each in found.unregistered if each.since <= latest]
        # The next look goes on behind these: a mark that the caller sets takes them out of it.
        behind = [each for each in waiting if each.since > self._unregistered_until]
        chosen = (behind or waiting)[: max(found.room, MOST_UNSERVED)]
        self._unregistered_until = chosen[-1].since if len(behind) > len(chosen) else 0
        locks = await self._locks(chosen, found)
        left = [
            lock
            for each in chosen
            if (lock := locks.get(each.instance)) is not None
            and _is_ready(lock, found)
            and not request.serves.accepts(lock.name, lock.version)
            and (lock.row.number_or_none("rel") or 0) <= latest
        ]
        await self._take_all(left, found, served=False)

    async def _locks(self, candidates: Sequence[_Candidate], found: _Found) -> dict[str, Lock]:
        """What may be leased. A moment's lag is no harm: the lease itself has its condition."""
        locks = await self._changes.read_sound_locks(
            [each.instance for each in candidates], consistent=False
        )
        self._purge.void_messages([row for each in candidates for row in each.rows], locks)
        finished = self._staged.finish_beside(locks, found.now)
        found.under_way += finished.under_way
        return finished.locks

    async def _finished_locks(self, instances: Sequence[str]) -> dict[str, Lock]:
        return await self._staged.finish_each(await self._changes.read_sound_locks(instances))

    async def _take_all(self, locks: Sequence[Lock], found: _Found, *, served: bool) -> None:
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

    async def _take(self, lock: Lock, found: _Found, *, served: bool) -> LeasedTurn | None:
        """Lease it; what goes wrong with it must not cost the others of this call their leases."""
        lease = TurnLease(instance=lock.instance, token=found.request.token)
        self._held.attempt(lease.token, lock.instance)
        found.begun.add(lease)
        try:
            turn = await self._try_to_take(lock, lease, found, served=served)
            if turn is None:
                found.begun.discard(lease)
            return turn
        except ProviderError as error:
            if isinstance(error, StorageCorrupt) and not await self.stands(lease):
                # Another process took it over and consumed what this one was reading.
                return None
            _LOGGER.warning("instance %r is put off: %s", lock.instance, error)
            with suppress(ProviderError):
                await self.release(
                    TurnRelease(
                        lease=lease, counted=False, delay=PUT_OFF, parked=damage_mark(error)
                    )
                )
                found.begun.discard(lease)
            return None

    async def _try_to_take(
        self, lock: Lock, lease: TurnLease, found: _Found, *, served: bool
    ) -> LeasedTurn | None:
        request, now = found.request, found.now
        is_mine, row = await self._table.try_write(_lease(lock, request, now, self._lock_key))
        if row is None or not (is_mine or row.text_or_none("tok") == request.token):
            return None
        mine = Lock(lock.instance, row)
        delivery = await self._read(mine, now)
        await self._open_waiting(mine, delivery, found)
        if not self._is_wanted(mine, delivery, found, served=served):
            await self._give_back(lease)
            return None
        return self._leased(mine, delivery, found, served=served)

    def _is_wanted(self, lock: Lock, delivery: Delivery, found: _Found, *, served: bool) -> bool:
        if delivery.visible_since is None:
            return False
        unregistered_for = found.request.unregistered_for
        if served or unregistered_for is None:
            return True
        since = max(delivery.visible_since, lock.row.number_or_none("rel") or 0)
        return since + to_microseconds(unregistered_for) <= found.now

    async def _turn_of(self, lock: Lock, found: _Found) -> LeasedTurn:
        delivery = await self._read(lock, found.now)
        await self._open_waiting(lock, delivery, found)
        served = found.request.serves.accepts(lock.name, lock.version)
        return self._leased(lock, delivery, found, served=served)

    async def _read(self, lock: Lock, now: Instant) -> Delivery:
        rows = await read_mailbox(self._table, self._keys.partition(lock.instance))
        delivery = await deliver(
            self._table,
            self._message_items,
            rows,
            instance=lock.instance,
            validity=lock.validity,
            now=now,
        )
        self._purge.void_rows(delivery.void)
        return delivery

    async def _open_waiting(self, lock: Lock, delivery: Delivery, found: _Found) -> None:
        """See to it that early events are found, while the start still keeps them company.

        They are not in the ready queue, and later nobody would look for those that this lease
        does not deliver. A few are put there; for many one item stands there as long as any is
        left. No others come: the instance exists.
        """
        partition = self._keys.partition(lock.instance)
        queue = self._keys.turns(self._shards.of(lock.instance))
        if len(delivery.waiting) > MOST_OPENED:
            place = open_since(found.now)
            await self._table.write(
                Put(item={"pk": partition, "sk": KEEPER, "gpk": queue, "gsk": place})
            )
            return
        await at_once(
            self._table.try_write(
                Update(
                    key=(partition, row.text("sk")),
                    change="SET gpk = :queue",
                    condition="attribute_exists(pk)",
                    values={":queue": queue},
                )
            )
            for row in delivery.waiting
        )
        if lock.instance in found.keepers:
            await self._table.write(Delete(key=(partition, KEEPER)))

    def _leased(self, lock: Lock, delivery: Delivery, found: _Found, *, served: bool) -> LeasedTurn:
        request = found.request
        held = RememberedLease.of(lock, request.lease_for)
        held.chunks.update(delivery.chunks)
        self._held.put(lock.instance, request.token, held)
        return LeasedTurn(
            state=lock.state(None),
            token=request.token,
            until=lock.row.number("unt"),
            attempt=lock.attempt,
            messages=delivery.messages,
            more=delivery.more,
            served=served,
        )

    def _lock_key(self, instance: str) -> tuple[str, str]:
        return (self._keys.partition(instance), LOCK)


def _may_serve(row: Row, serves: Serves) -> bool:
    """Whether the caller may serve the instance of a row, which need not tell its name."""
    name = row.text_or_none("nam")
    return name is None or name in serves.orchestrations


def _is_ready(lock: Lock, found: _Found) -> bool:
    is_fitting = lock.engine <= found.request.serves.engine
    return lock.running and lock.is_free(found.now) and is_fitting


def _lease_of(turn: LeasedTurn) -> TurnLease:
    return TurnLease(instance=turn.state.instance, token=turn.token)


def _lease(lock: Lock, request: TurnRequest, now: Instant, key_of: LockKey) -> Update:
    values: dict[str, Plain] = {
        ":token": request.token,
        ":until": now + to_microseconds(request.lease_for),
        ":one": 1,
        ":inc": lock.incarnation,
        ":turn": lock.turn,
        ":running": RUNNING,
    }
    # The turn number says that nothing happened since the lock was read, but for a renewal.
    unrenewed = "attribute_not_exists(unt)"
    if lock.until is not None:
        unrenewed, values[":was"] = "unt = :was", lock.until
    change = "SET tok = :token, unt = :until, att = att + :one, trn = trn + :one"
    if lock.token is not None:
        change, values[":from"] = f"{change}, tkf = :from", lock.token
    return Update(
        key=key_of(lock.instance),
        change=f"{change} REMOVE hid",
        condition="inc = :inc AND trn = :turn AND stat = :running"
        f" AND attribute_not_exists(stg) AND {unrenewed}",
        values=values,
    )
