"""Looks for turns: finding ready instances and leasing them.

The index only says where to look. A lease is one conditional update of the lock item: it fails
when the item is not as it was read, so of those who found the same instance exactly one gets it
(LEASE-18). The mailbox is read after the lease was taken, so it has all that was acknowledged
before. An instance that turns out to have nothing to do is given back uncounted and in silence.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from perdure.clock import Instant, to_microseconds
from perdure.contract import (
    FARTHEST_END,
    LeasedTurn,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import ProviderError, StorageCorrupt

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._far_looks import FarLooks
from perdure_dynamodb._instance_reads import read_state
from perdure_dynamodb._keys import (
    EARLY_MARKER,
    LOCK,
    PREFIXES,
    Range,
    due_at,
    locked_too_long,
    locked_until,
    open_since,
    ready_long,
    ready_to_run,
    turn_prefix,
    waits_since,
)
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._locks import PUT_OFF, RUNNING, Lock, damage_mark
from perdure_dynamodb._looks import Found, carry_out, scan_until_full
from perdure_dynamodb._messages import Delivery, deliver, is_visible, read_mailbox
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._other_queues import OtherQueues
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._signals import Signals
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import READ_BATCH, Update, at_once
from perdure_dynamodb._turn_leases import TurnLeases
from perdure_dynamodb._values import Plain, Row

FROM_OLDEST = 4
"""One of so many instances that a look takes is the oldest, where there are more than it has room
for."""

MOST_UNREGISTERED = 100
"""So many locks of instances that the caller does not serve are read in one look, unless it has
room for more."""

_LOGGER = logging.getLogger("perdure.dynamodb")


@dataclass(slots=True)
class _Candidate:
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
class _Found(Found[TurnRequest, TurnLease, LeasedTurn]):
    """What a look for turns has found so far."""

    seen: set[str] = field(default_factory=set[str])
    unregistered: list[_Candidate] = field(default_factory=list["_Candidate"])

    def serves(self, lock: Lock) -> bool:
        """Whether the caller serves an instance."""
        return self.request.serves.accepts(lock.name, lock.version)


class Turns:
    """The looks for turns of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        signals: Signals,
        staged_commits: StagedCommits,
        leases: TurnLeases,
        memory: LeaseMemory,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._signals = signals
        self._staged = staged_commits
        self._leases = leases
        self._memory = memory
        self._scan = QueueScan(self._table)
        self._other_queues = OtherQueues(self._table, within=PREFIXES)
        self._far_looks = FarLooks()
        self._taking: set[str] = set()
        """Instances that a call of this process is taking now."""
        self._looks = random.randrange(FROM_OLDEST)  # noqa: S311 # no secret
        self._unregistered_until: Instant = 0
        """Up to here the last look went through those that it does not serve."""

    async def lease(self, request: TurnRequest, begun: set[TurnLease]) -> Sequence[LeasedTurn]:
        """Lease ready instances; the leases that the call itself takes are added to `begun`.

        A look that fails half-way returns what it leased until then.
        """
        found = _Found(request, self._namespace.now, begun)
        return await carry_out(
            found,
            lambda: self._look(found),
            what="turns",
            leases=self._leases,
            refresh=self._namespace.shards.refresh,
            lease_of=_lease_of,
        )

    async def _look(self, found: _Found) -> None:
        await self._find_held(found)
        prefixes = _prefixes(found.request.serves)
        if found.room > 0:
            await self._scan_queue(found, prefixes)
        if found.room > 0 and found.request.unregistered_for is not None:
            await self._find_unregistered(found, prefixes)
            await self._take_unregistered(found)
        if found.under_way and not found.leased:
            await self._take_finished(found)

    async def _scan_queue(self, found: _Found, prefixes: Sequence[str]) -> None:
        """Take what the caller serves, also where version 0.1.0 put it into the queue."""
        looks_far = self._far_looks.begin(found.now)
        ranges = [Range(open_since(0), "a~")]
        for prefix in prefixes:
            ready, unlocked, due = ready_to_run(prefix, found.now)
            far = [locked_too_long(prefix, found.now + FARTHEST_END)] if looks_far else []
            ranges += [ready, unlocked, *far, due]
        ranges.append(Range(due_at(0), due_at(found.now, "~")))
        ended = await scan_until_full(
            found, self._scan, self._partitions, ranges, lambda rows: self._take_from(rows, found)
        )
        if looks_far and ended:
            self._far_looks.end()

    @property
    def _partitions(self) -> list[str]:
        return [self._namespace.keys.turns(shard) for shard in self._namespace.shards.all]

    async def _take_finished(self, found: _Found) -> None:
        """Where nothing else is ready, wait for the rest of commits of processes that died."""
        finished = await asyncio.gather(*found.under_way)
        ready = [lock for lock in finished if lock is not None and _is_ready(lock, found)]
        await self._take_all([lock for lock in ready if found.serves(lock)], found, served=True)

    async def _find_held(self, found: _Found) -> None:
        """What the token has already: an earlier call's answer may have been lost (LEASE-7)."""
        token = found.request.token
        locks = await self._changes.read_sound_locks(self._memory.attempted(token))
        for instance, lock in (await self._staged.finish_each(locks)).items():
            if lock.held_by(token, found.now) and found.room > 0:
                found.seen.add(instance)
                found.leased.append(await self._turn_of(lock, found))

    async def _take_from(self, rows: Sequence[Row], found: _Found) -> None:
        served: list[_Candidate] = []
        for candidate in self._candidates(rows, found):
            if all(_may_serve(row, found.request.serves) for row in candidate.rows):
                served.append(candidate)
            else:
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
            instance = self._namespace.keys.instance_of(row.text("pk"))
            if instance not in found.seen:
                since = waits_since(row.text("gsk"))
                candidates.setdefault(instance, _Candidate(instance, since)).rows.append(row)
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
        served: list[Lock] = []
        for candidate in candidates:
            lock = locks.get(candidate.instance)
            if lock is None or not _is_ready(lock, found):
                continue
            if found.serves(lock):
                served.append(lock)
            else:
                found.unregistered.append(candidate)
        await self._take_all(served, found, served=True)

    async def _find_unregistered(self, found: _Found, prefixes: Sequence[str]) -> None:
        rows = await self._other_queues.waiting(
            [each for each in self._partitions if each not in (found.empty or ())],
            but=set(prefixes),
            ranges=lambda prefix: ready_long(prefix, found.unregistered_before, found.now),
            limit=max(found.room, MOST_UNREGISTERED),
        )
        found.unregistered += self._candidates(rows, found)

    async def _take_unregistered(self, found: _Found) -> None:
        """Of those that do not match, what waits for long enough; a bounded number in one look."""
        latest = found.unregistered_before
        waiting = sorted(
            (each for each in found.unregistered if each.since <= latest),
            key=lambda each: each.since,
        )
        # The next look goes on behind these: a mark that the caller sets takes them out of it.
        behind = [each for each in waiting if each.since > self._unregistered_until]
        chosen = (behind or waiting)[: max(found.room, MOST_UNREGISTERED)]
        self._unregistered_until = chosen[-1].since if len(behind) > len(chosen) else 0
        locks = await self._locks(chosen, found)
        ready = [
            lock
            for each in chosen
            if (lock := locks.get(each.instance)) is not None and _is_ready(lock, found)
        ]
        # The queue may still tell the version that an instance had before.
        await self._take_all([lock for lock in ready if found.serves(lock)], found, served=True)
        left = [
            lock
            for lock in ready
            if not found.serves(lock) and (lock.row.number_or_none("rel") or 0) <= latest
        ]
        await self._take_all(left, found, served=False)

    async def _locks(self, candidates: Sequence[_Candidate], found: _Found) -> dict[str, Lock]:
        """What may be leased. A moment's lag is no harm: the lease itself has its condition."""
        locks = await self._changes.read_sound_locks(
            [each.instance for each in candidates], consistent=False
        )
        rows = [row for candidate in candidates for row in candidate.rows]
        self._namespace.purge.void_messages(rows, locks)
        finished = self._staged.finish_beside(locks, found.now)
        found.under_way += finished.under_way
        for candidate in candidates:
            lock = finished.locks.get(candidate.instance)
            if lock is None or not lock.running:
                continue
            is_locked = not lock.is_free(found.now)
            rows = [
                row for row in candidate.reminders if is_locked or row.text("sk") == EARLY_MARKER
            ]
            if rows:
                self._signals.repeat(lock, rows)
        return finished.locks

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
        self, lock: Lock, lease: TurnLease, found: _Found, *, served: bool
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

    async def _has_no_messages(self, lock: Lock, found: _Found) -> bool:
        rows = await read_mailbox(self._table, self._namespace.keys.partition(lock.instance))
        return not any(is_visible(row, found.now) and not lock.validity.voids(row) for row in rows)

    def _leasing(self, lock: Lock, found: _Found) -> Update:
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

    async def _turn_of(self, lock: Lock, found: _Found) -> LeasedTurn:
        delivery = await self._read(lock, found)
        return await self._leased(lock, delivery, found, served=found.serves(lock))

    async def _read(self, lock: Lock, found: _Found) -> Delivery:
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
        self, lock: Lock, delivery: Delivery, found: _Found, *, served: bool
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


def _prefixes(serves: Serves) -> Sequence[str]:
    """The prefixes of all that the caller can run, in order."""
    return sorted(
        turn_prefix(name, version, engine)
        for name, versions in serves.orchestrations.items()
        for version in (None, *versions)
        for engine in range(1, serves.engine + 1)
    )


def _may_serve(row: Row, serves: Serves) -> bool:
    """Whether the caller may serve the instance of a row of version 0.1.0, if it tells its name."""
    name = row.text_or_none("nam")
    return name is None or name in serves.orchestrations


def _is_ready(lock: Lock, found: _Found) -> bool:
    is_fitting = lock.engine <= found.request.serves.engine
    return lock.running and lock.is_free(found.now) and is_fitting


def _lease_of(turn: LeasedTurn) -> TurnLease:
    return TurnLease(instance=turn.state.instance, token=turn.token)
