"""Looks for activities: finding and leasing them.

The index only says where to look: a lease is one conditional update of the item (ACT-19). Whether
the instance still wants the activity is read from the lock item before; what changes between the
two is as if it had changed after.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from perdure.clock import Instant, to_microseconds
from perdure.contract import (
    FARTHEST_END,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
    is_in_force,
)
from perdure.errors import ProviderError

from perdure_dynamodb._activities import Activities
from perdure_dynamodb._activity_items import OF_LIFE, id_of, row_key
from perdure_dynamodb._activity_memory import ActivityMemory
from perdure_dynamodb._busy_queues import leased_rows, queue_of
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._far_looks import FarLooks
from perdure_dynamodb._keys import (
    EVERYTHING,
    SLOT,
    Range,
    is_leased,
    is_locked,
    leased_too_long,
    leased_until,
    prefix_of,
    ready_time,
    ready_to_work,
    tag_prefix,
    waits_since,
    work_prefix,
)
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._lives import Life
from perdure_dynamodb._locks import PUT_OFF, Lock, damage_mark
from perdure_dynamodb._looks import Found, carry_out, scan_until_full
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._other_queues import OtherQueues
from perdure_dynamodb._payloads import read_payload
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import READ_BATCH, Key, Update, at_once
from perdure_dynamodb._values import Plain, Row

_LOGGER = logging.getLogger("perdure.dynamodb")


@dataclass(slots=True)
class _Found(Found[ActivityRequest, ActivityLease, LeasedActivity]):
    """What a look for activities has found so far."""

    seen: set[Key] = field(default_factory=set[Key])
    taken: set[Key] = field(default_factory=set[Key])
    """Activities that this call has leased itself."""
    unregistered: list[Row] = field(default_factory=list[Row])

    def may_have_waited(self, row: Row) -> bool:
        """Whether a row that does not match may be wanted; of a lease it only tells the end."""
        place = row.text("gsk")
        waits = ready_time(place) <= self.unregistered_before or is_locked(place)
        return self.request.unregistered_for is not None and waits


class ActivityLooks:
    """The looks for activities of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        activities: Activities,
        memory: ActivityMemory,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._changes = changes
        self._staged = staged_commits
        self._activities = activities
        self._known = memory
        self._scan = QueueScan(self._table)
        self._other_queues = OtherQueues(self._table, within=EVERYTHING)
        self._far_looks = FarLooks()
        self._taking: set[Key] = set()
        """Activities that a call of this process is just taking: others needn't try."""
        self._renewed: BoundedMemory[tuple[Key, str], Instant] = BoundedMemory()
        """The ends of leases that last longer than their rows of the index say."""

    async def lease(
        self, request: ActivityRequest, begun: set[ActivityLease]
    ) -> Sequence[LeasedActivity]:
        """Lease activities; the leases that the call itself takes are added to `begun`.

        A look that fails half-way returns what it leased until then.
        """
        found = _Found(request, self._namespace.now, begun)
        return await carry_out(
            found,
            lambda: self._look(found),
            what="activities",
            leases=self._activities,
            refresh=self._namespace.shards.refresh,
            lease_of=lambda leased: leased.lease,
        )

    async def _look(self, found: _Found, *, again: bool = False) -> None:
        request = found.request
        if not again:
            await self._find_held(found)
        prefixes = sorted(_prefixes(request))
        if found.room > 0 and prefixes:
            await self._scan_queues(found, prefixes)
        if found.room > 0 and request.unregistered_for is not None:
            await self._take_unregistered(found, prefixes)
        if found.under_way and not found.leased and not again:
            # Where nothing else is ready, wait for the rest of commits of processes that died.
            await asyncio.gather(*found.under_way)
            found.seen.clear()
            await self._look(found, again=True)

    async def _scan_queues(self, found: _Found, prefixes: Sequence[str]) -> None:
        looks_far = self._far_looks.begin(found.now)
        ranges: list[Range] = []
        for prefix in prefixes:
            ranges += ready_to_work(prefix, found.now)
            if looks_far:
                ranges.append(leased_too_long(prefix, found.now + FARTHEST_END))
        ended = await scan_until_full(
            found, self._scan, self._partitions, ranges, lambda rows: self._take_from(rows, found)
        )
        if looks_far and ended:
            self._far_looks.end()

    @property
    def _partitions(self) -> list[str]:
        return [self._keys.work(shard) for shard in self._namespace.shards.all]

    async def _find_held(self, found: _Found) -> None:
        """What the token has already: an earlier call's answer may have been lost (ACT-6)."""
        token = found.request.token
        keys = self._activities.attempted(token)
        if not keys:
            return
        rows = await self._table.get_many(keys)
        locks = await self._locks([self._instance_of(row) for row in rows.values()])
        locks = await self._staged.finish_each(locks)
        for row in rows.values():
            lock = locks.get(self._instance_of(row))
            wanted = lock is not None and not lock.validity.voids(row)
            if wanted and _is_held(row, token, found.now) and found.room > 0:
                found.seen.add(row_key(row))
                found.leased.append(await self._leased(row, found))

    async def _take_from(self, rows: Sequence[Row], found: _Found) -> None:
        served: list[Row] = []
        for row in rows:
            key = row_key(row)
            if key in found.seen or not _may_be_free(row, found):
                continue
            if is_in_force(self._renewed.get((key, row.text("gsk"))), found.now):
                continue
            found.seen.add(key)
            if self._is_served(row, found):
                served.append(row)
            elif found.may_have_waited(row):
                found.unregistered.append(row)
        while served and found.room > 0:
            some, served = served[: found.room], served[found.room :]
            await self._take_some(some, found)

    async def _take_unregistered(self, found: _Found, prefixes: Sequence[str]) -> None:
        """Those that waited long enough, which the row of one that was leased does not tell."""
        others = await self._other_queues.waiting(
            [each for each in self._partitions if each not in (found.empty or ())],
            but=set(prefixes),
            ranges=lambda prefix: ready_to_work(prefix, found.now),
            limit=found.room,
        )
        found.unregistered += filter(found.may_have_waited, others)
        left = sorted(found.unregistered, key=lambda row: waits_since(row.text("gsk")))
        while left and found.room > 0:
            some, left = left[:READ_BATCH], left[READ_BATCH:]
            rows = await self._table.get_many(map(row_key, some))
            waited = [
                row for row in rows.values() if row.number("rdy") <= found.unregistered_before
            ]
            busy = await self._busy_queues(waited, rows.values(), found)
            waited = [row for row in waited if queue_of(row) not in busy]
            waited.sort(key=lambda row: row.number("rdy"))
            while waited and found.room > 0:
                next_ones, waited = waited[: found.room], waited[found.room :]
                await self._take_some(next_ones, found)

    async def _busy_queues(
        self, waited: Sequence[Row], read: Iterable[Row], found: _Found
    ) -> set[tuple[str, str | None]]:
        """Names and tags of which an activity that is wanted has a lease in force (ACT-24)."""
        if not waited:
            return set()
        leased = await leased_rows(self._table, self._partitions, map(queue_of, waited), found.now)
        # The row in the index may stand behind a lease that was renewed.
        held = [
            *leased,
            *(row for row in read if is_in_force(row.number_or_none("unt"), found.now)),
        ]
        # A lease that this look has taken itself is of unregistered work.
        held = [row for row in held if row_key(row) not in found.taken]
        locks = await self._locks([self._instance_of(row) for row in held])
        return {
            queue_of(row)
            for row in held
            if (lock := locks.get(self._instance_of(row))) is not None
            and not lock.validity.voids(row)
        }

    async def _take_some(self, rows: Sequence[Row], found: _Found) -> None:
        locks = await self._locks([self._instance_of(row) for row in rows])
        finished = self._staged.finish_beside(locks, found.now)
        found.under_way += finished.under_way
        locks = finished.locks
        self._namespace.purge.void_messages(rows, locks)
        wanted = [
            row
            for row in rows
            if (lock := locks.get(self._instance_of(row))) is not None
            # A staged commit may cancel it.
            and lock.stage is None
            and not lock.validity.voids(row)
            and row_key(row) not in self._taking
        ]
        self._taking |= {row_key(row) for row in wanted}
        try:
            taken = await at_once(
                self._take(row, locks[self._instance_of(row)], found) for row in wanted
            )
        finally:
            self._taking -= {row_key(row) for row in wanted}
        found.leased += [leased for leased in taken if leased is not None]

    async def _take(self, row: Row, lock: Lock, found: _Found) -> LeasedActivity | None:
        """Lease it; what goes wrong with it must not cost the others of this call their leases."""
        instance, activity = lock.instance, id_of(row, lock)
        lease = ActivityLease(instance=instance, activity=activity, token=found.request.token)
        self._activities.remember(lease.token, row_key(row))
        found.begun.add(lease)
        try:
            leased = await self._try_to_take(row, activity, lock.life, found)
            if leased is None:
                found.begun.discard(lease)
            else:
                found.taken.add(row_key(row))
            return leased
        except ProviderError as error:
            _LOGGER.warning("activity %r of %r is put off: %s", activity, instance, error)
            with suppress(ProviderError):
                await self._activities.release(
                    ActivityRelease(
                        lease=lease, counted=False, delay=PUT_OFF, parked=damage_mark(error)
                    )
                )
                found.begun.discard(lease)
            return None

    async def _try_to_take(
        self, row: Row, activity: str, life: Life, found: _Found
    ) -> LeasedActivity | None:
        is_mine, taken = await self._table.try_write(_leasing(row, activity, life, found))
        if taken is not None and id_of(taken) != activity:
            return None
        if taken is None or not (is_mine or _is_held(taken, found.request.token, found.now)):
            if taken is not None and taken.get("gsk") == row["gsk"] and "unt" in taken:
                self._renewed[row_key(row), row.text("gsk")] = taken.number("unt")
            return None
        return await self._leased(taken, found)

    async def _leased(self, row: Row, found: _Found) -> LeasedActivity:
        self._known.learn(row)
        return LeasedActivity(
            instance=self._instance_of(row),
            incarnation=row.text("inc"),
            execution=row.number("exe"),
            id=id_of(row),
            name=row.text("nam"),
            tag=row.text_or_none("tag"),
            data=await read_payload(self._table, row) or b"",
            token=row.text("tok"),
            until=row.number("unt"),
            delivery=row.number("dlv"),
            added_at=row.number("ado"),
            served=self._is_served(row, found),
        )

    def _is_served(self, row: Row, found: _Found) -> bool:
        request = found.request
        return row.text_or_none("tag") in request.tags and row.text("nam") in request.names

    async def _locks(self, instances: Sequence[str]) -> dict[str, Lock]:
        return await self._changes.read_sound_locks(tuple(dict.fromkeys(instances)))

    def _instance_of(self, row: Row) -> str:
        return self._keys.instance_of(row.text("pk"))


def _prefixes(request: ActivityRequest) -> set[str]:
    """The prefixes of all that the caller asks for, and those that version 0.1.0 used."""
    return {
        *(tag_prefix(tag) for tag in request.tags),
        *(work_prefix(name, tag) for name in request.names for tag in request.tags),
    }


def _leasing(row: Row, activity: str, life: Life, found: _Found) -> Update:
    """The lease of an activity that a row of the index shows, in this life of its instance."""
    place, now = row.text("gsk"), found.now
    until = now + to_microseconds(found.request.lease_for)
    change = "SET tok = :token, unt = :until, dlv = dlv + :one, gsk = :ready"
    # The index row tells whether a lease stands; where it lags, another look finds it right.
    stands = "attribute_not_exists(tok)"
    if is_leased(place):
        change, stands = f"{change}, tkf = tok", "attribute_exists(tok)"
    which, whose = _which(row, activity)
    return Update(
        key=row_key(row),
        change=f"{change} REMOVE hid",
        condition=f"attribute_exists(pk) AND inc = :inc AND exe = :exe AND {OF_LIFE}{which}"
        f" AND {stands}"
        " AND (attribute_not_exists(unt) OR unt <= :now OR unt > :far)"
        " AND (attribute_not_exists(hid) OR hid <= :now OR hid > :far)"
        " AND (attribute_not_exists(due) OR due <= :now)",
        values={
            ":token": found.request.token,
            ":until": until,
            ":one": 1,
            ":ready": prefix_of(place) + leased_until(until, since=waits_since(place)),
            ":inc": row.text("inc"),
            ":exe": row.number("exe"),
            ":life": life.text,
            ":now": now,
            ":far": now + FARTHEST_END,
            **whose,
        },
    )


def _which(row: Row, activity: str) -> tuple[str, dict[str, Plain]]:
    """The condition that the slot holds the activity that the lock item and the row tell of."""
    if row.text("sk") != SLOT:
        return "", {}
    values: dict[str, Plain] = {":activity": activity, ":name": row.text("nam")}
    tag = row.text_or_none("tag")
    if tag is None:
        return " AND aid = :activity AND nam = :name AND attribute_not_exists(tag)", values
    values[":tag"] = tag
    return " AND aid = :activity AND nam = :name AND tag = :tag", values


def _may_be_free(row: Row, found: _Found) -> bool:
    place = row.text("gsk")
    # What is due far ahead is no lock that was taken by a wrong clock.
    return ready_time(place) <= found.now or is_locked(place)


def _is_held(row: Row, token: str, now: Instant) -> bool:
    return row.text_or_none("tok") == token and is_in_force(row.number_or_none("unt"), now)
