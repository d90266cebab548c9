"""Looks for turns: finding ready instances and leasing them.

The index only says where to look; what is found is read from the table and taken under a condition
(see `turn_taking`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from perdure.clock import Instant
from perdure.contract import (
    FARTHEST_END,
    LeasedTurn,
    Serves,
    TurnLease,
    TurnRequest,
)

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._far_looks import FarLooks
from perdure_dynamodb._keys import (
    EARLY_MARKER,
    PREFIXES,
    Range,
    due_at,
    locked_too_long,
    open_since,
    ready_long,
    ready_to_run,
    turn_prefix,
    waits_since,
)
from perdure_dynamodb._lease_memory import LeaseMemory
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._looks import carry_out, scan_until_full
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._other_queues import OtherQueues
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._signals import Signals
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import READ_BATCH
from perdure_dynamodb._turn_leases import TurnLeases
from perdure_dynamodb._turn_taking import Candidate, FoundTurns, TurnTaking
from perdure_dynamodb._values import Row

FROM_OLDEST = 4
"""One of so many instances that a look takes is the oldest, where there are more than it has room
for."""

MOST_UNREGISTERED = 100
"""So many locks of instances that the caller does not serve are read in one look, unless it has
room for more."""

_LOGGER = logging.getLogger("perdure.dynamodb")


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
        self._taking = TurnTaking(namespace, leases, memory)
        self._looks = random.randrange(FROM_OLDEST)  # noqa: S311 # no secret
        self._unregistered_until: Instant = 0
        """Up to here the last look went through those that it does not serve."""

    async def lease(self, request: TurnRequest, begun: set[TurnLease]) -> Sequence[LeasedTurn]:
        """Lease ready instances; the leases that the call itself takes are added to `begun`.

        A look that fails half-way returns what it leased until then.
        """
        found = FoundTurns(request, self._namespace.now, begun)
        return await carry_out(
            found,
            lambda: self._look(found),
            what="turns",
            leases=self._leases,
            refresh=self._namespace.shards.refresh,
            lease_of=_lease_of,
        )

    async def _look(self, found: FoundTurns) -> None:
        await self._find_held(found)
        prefixes = _prefixes(found.request.serves)
        if found.room > 0:
            await self._scan_queue(found, prefixes)
        if found.room > 0 and found.request.unregistered_for is not None:
            await self._find_unregistered(found, prefixes)
            await self._take_unregistered(found)
        if found.under_way and not found.leased:
            await self._take_finished(found)

    async def _scan_queue(self, found: FoundTurns, prefixes: Sequence[str]) -> None:
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

    async def _take_finished(self, found: FoundTurns) -> None:
        """Where nothing else is ready, wait for the rest of commits of processes that died."""
        finished = await asyncio.gather(*found.under_way)
        ready = [lock for lock in finished if lock is not None and _is_ready(lock, found)]
        await self._taking.take_all(
            [lock for lock in ready if found.serves(lock)], found, served=True
        )

    async def _find_held(self, found: FoundTurns) -> None:
        """What the token has already: an earlier call's answer may have been lost (LEASE-7)."""
        token = found.request.token
        locks = await self._changes.read_sound_locks(self._memory.attempted(token))
        for instance, lock in (await self._staged.finish_each(locks)).items():
            if lock.held_by(token, found.now) and found.room > 0:
                found.seen.add(instance)
                found.leased.append(await self._taking.turn_of(lock, found))

    async def _take_from(self, rows: Sequence[Row], found: FoundTurns) -> None:
        served: list[Candidate] = []
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

    def _candidates(self, rows: Sequence[Row], found: FoundTurns) -> list[Candidate]:
        """The instances that rows of the index speak of, those first that wait longest."""
        candidates: dict[str, Candidate] = {}
        for row in rows:
            instance = self._namespace.keys.instance_of(row.text("pk"))
            if instance not in found.seen:
                since = waits_since(row.text("gsk"))
                candidates.setdefault(instance, Candidate(instance, since)).rows.append(row)
        found.seen |= candidates.keys()
        return sorted(candidates.values(), key=lambda each: each.since)

    def _in_turn(self, candidates: list[Candidate], room: int) -> list[Candidate]:
        """A few of the oldest, then from anywhere: processes that look at the same moment should
        not want the same instances."""
        if len(candidates) <= room:
            return candidates
        self._looks += 1
        few = room // FROM_OLDEST or int(self._looks % FROM_OLDEST == 0)
        oldest, others = candidates[:few], candidates[few:]
        start = random.randrange(len(others))  # noqa: S311 # no secret
        return oldest + others[start:] + others[:start]

    async def _take_some(self, candidates: Sequence[Candidate], found: FoundTurns) -> None:
        locks = await self._locks(candidates, found)
        for lock in locks.values():
            if lock.held_by(found.request.token, found.now) and found.room > 0:
                found.leased.append(await self._taking.turn_of(lock, found))
        served: list[Lock] = []
        for candidate in candidates:
            lock = locks.get(candidate.instance)
            if lock is None or not _is_ready(lock, found):
                continue
            if found.serves(lock):
                served.append(lock)
            else:
                found.unregistered.append(candidate)
        await self._taking.take_all(served, found, served=True)

    async def _find_unregistered(self, found: FoundTurns, prefixes: Sequence[str]) -> None:
        rows = await self._other_queues.waiting(
            [each for each in self._partitions if each not in (found.empty or ())],
            but=set(prefixes),
            ranges=lambda prefix: ready_long(prefix, found.unregistered_before, found.now),
            limit=max(found.room, MOST_UNREGISTERED),
        )
        found.unregistered += self._candidates(rows, found)

    async def _take_unregistered(self, found: FoundTurns) -> None:
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
        await self._taking.take_all(
            [lock for lock in ready if found.serves(lock)], found, served=True
        )
        left = [
            lock
            for lock in ready
            if not found.serves(lock) and (lock.row.number_or_none("rel") or 0) <= latest
        ]
        await self._taking.take_all(left, found, served=False)

    async def _locks(self, candidates: Sequence[Candidate], found: FoundTurns) -> dict[str, Lock]:
        """What may be leased. A moment's lag is no harm: the lease itself has its condition."""
        locks = await self._changes.read_sound_locks(
            [each.instance for each in candidates], consistent=False
        )
        rows = [row for candidate in candidates for row in candidate.rows]
        self._namespace.purge.void_messages(rows, locks)
        self._namespace.purge.orphans(
            row for each in candidates if each.instance not in locks for row in each.rows
        )
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


def _is_ready(lock: Lock, found: FoundTurns) -> bool:
    is_fitting = lock.engine <= found.request.serves.engine
    return lock.running and lock.is_free(found.now) and is_fitting


def _lease_of(turn: LeasedTurn) -> TurnLease:
    return TurnLease(instance=turn.state.instance, token=turn.token)
