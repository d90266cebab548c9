"""The activity queue: adding, leasing, completing and giving back.

An activity is one item, which carries its own lease; its place in the index says when it can
next be taken, so one whose lease ran out appears there by itself. The index only says where to
look: a lease is one conditional update of the item (ACT-19). Whether the instance still wants
the activity is read from the lock item before; what changes between the two is as if it had
changed after.

Attributes: `nam` name, `tag`, `dat` payload, `inc`, `exe`, `due` visible-at, `rdy` since when it
waits, `ado` when it was added, `tok`/`unt` lease, `tkf` token of the lease that was taken over
last, `hid` end of a delay, `dlv` delivery.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract import (
    FARTHEST_END,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
    NewActivity,
    TurnCommit,
    is_in_force,
)
from perdure.errors import ActivityLeaseLost, ProviderError

from perdure_dynamodb._activity_memory import WANTED, ActivityMemory
from perdure_dynamodb._arrivals import Arrivals
from perdure_dynamodb._busy_queues import leased_rows, queue_of
from perdure_dynamodb._changes import Changes, FenceFailed
from perdure_dynamodb._keys import (
    FOREVER,
    LOCK,
    Keys,
    activity_key,
    delayed_until,
    due_at,
    is_leased,
    is_locked,
    leased_until,
    open_since,
    ready_time,
    tag_prefix,
    waits_since,
)
from perdure_dynamodb._lease_memory import BoundedMemory
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
from perdure_dynamodb._other_queues import OtherQueues
from perdure_dynamodb._payloads import TRANSIENT, ChunkBuffer, read_payload
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._queue_scan import QueueScan
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import (
    READ_BATCH,
    Action,
    Delete,
    Key,
    Select,
    Table,
    Update,
    at_once,
)
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._unreturned_leases import UnreturnedLeases
from perdure_dynamodb._values import Item, Plain, Row

_LOGGER = logging.getLogger("perdure.dynamodb")

FAR_INTERVAL = timedelta(seconds=30)


@dataclass(slots=True)
class _Found:
    """What a call has found so far."""

    request: ActivityRequest
    now: Instant
    begun: set[ActivityLease]
    """Leases that the call took or may have taken."""
    shards: Sequence[int] = ()
    """The shards to look into."""
    leased: list[LeasedActivity] = field(default_factory=list[LeasedActivity])
    seen: set[Key] = field(default_factory=set[Key])
    taken: set[Key] = field(default_factory=set[Key])
    """Activities that this call has leased itself."""
    unregistered: list[Row] = field(default_factory=list[Row])
    under_way: list[asyncio.Task[Lock | None]] = field(
        default_factory=list["asyncio.Task[Lock | None]"]
    )
    """Locks whose staged commit is carried out beside the look."""

    @property
    def room(self) -> int:
        return self.request.limit - len(self.leased)

    @property
    def unregistered_before(self) -> Instant:
        """What does not match is wanted where it waits since this instant or longer."""
        return self.now - to_microseconds(self.request.unregistered_for or timedelta(0))

    def may_have_waited(self, row: Row) -> bool:
        """Whether a row that does not match may be wanted; of a lease it only tells the end."""
        place = row.text("gsk")
        waits = ready_time(place) <= self.unregistered_before or is_locked(place)
        return self.request.unregistered_for is not None and waits


@dataclass(slots=True)
class _FarLooks:
    """When to look for locks that are too long to be right.

    They come from a clock that was ahead, and are rare: at first, whenever the own clock went
    back, and now and then for the sake of other machines' clocks, until such a look came to its
    end.
    """

    _since: Instant = 0
    _due: bool = True
    _newest: Instant = 0

    def begin(self, now: Instant) -> bool:
        if now < self._newest or now >= self._since + to_microseconds(FAR_INTERVAL):
            self._due = True
        self._newest = now
        return self._due

    def end(self) -> None:
        self._due, self._since = False, self._newest


class Activities:
    """The activities of one namespace."""

    def __init__(
        self,
        table: Table,
        keys: Keys,
        *,
        clock: Clock,
        shards: Shards,
        arrivals: Arrivals,
        changes: Changes,
        staged_commits: StagedCommits,
        purge: Purge,
        known: ActivityMemory,
    ) -> None:
        self._table = table
        self._keys = keys
        self._clock = clock
        self._shards = shards
        self._arrivals = arrivals
        self._changes = changes
        self._staged = staged_commits
        self._purge = purge
        self._scan = QueueScan(table)
        self._other_queues = OtherQueues(table)
        self._far_looks = _FarLooks()
        self._taking: set[Key] = set()
        """Activities that a call of this process is just taking: others needn't try."""
        self._tokens: BoundedMemory[str, dict[Key, None]] = BoundedMemory()
        self._renewed: BoundedMemory[tuple[Key, str], Instant] = BoundedMemory()
        """The ends of leases that last longer than their rows of the index say."""
        self._known = known
        self._unreturned = UnreturnedLeases(self._give_back)

    def item(
        self, new: NewActivity, commit: TurnCommit, buffer: ChunkBuffer, *, now: Instant
    ) -> Item:
        """The item of an activity that a commit adds."""
        partition = self._keys.partition(commit.instance)
        arrival = self._arrivals.next().text
        since = now if new.visible_at is None else new.visible_at
        ready = (
            open_since(now, arrival) if new.visible_at is None else due_at(new.visible_at, arrival)
        )
        item: Item = {
            "pk": partition,
            "sk": activity_key(new.id),
            "inc": commit.incarnation,
            "exe": commit.execution,
            "nam": new.name,
            "ado": now,
            "rdy": since,
            "dlv": 0,
            "gpk": self._keys.work(self._shards.of(commit.instance)),
            **buffer.place(partition, new.data, kind=TRANSIENT),
        }
        if new.tag is not None:
            item["tag"] = new.tag
        if new.visible_at is not None:
            item["due"] = new.visible_at
        if new.lease and commit.activity_token is not None and commit.activity_lease_for:
            until = now + to_microseconds(commit.activity_lease_for)
            item |= {"tok": commit.activity_token, "unt": until, "dlv": 1}
            ready = leased_until(until, since=since)
        item["gsk"] = tag_prefix(new.tag) + ready
        return item

    def added(self, commit: TurnCommit, items: Sequence[Item]) -> None:
        """Remember what a commit has added, so that its end needs no reading."""
        for item in items:
            row = Row(item)
            key = _key_of(row)
            self._known.learn(row)
            if commit.activity_token is not None and "tok" in item:
                self._remember(commit.activity_token, key)

    def finishing(self, commit: TurnCommit) -> list[Action]:
        """The deletions that are preconditions of a commit."""
        return [
            Delete(
                key=(self._keys.partition(lease.instance), activity_key(lease.activity)),
                condition=WANTED,
                values={
                    ":token": lease.token,
                    ":inc": commit.incarnation,
                    ":exe": commit.execution,
                },
            )
            for lease in commit.finish
        ]

    async def lost(self, commit: TurnCommit) -> list[str]:
        """Which of the activities that a commit finishes are not leased as it says."""
        keys = {lease: self._key(lease) for lease in commit.finish}
        rows = await self._table.get_many(keys.values())
        return [
            lease.activity
            for lease, key in keys.items()
            if (row := rows.get(key)) is None
            or row.text_or_none("tok") != lease.token
            or row.text("inc") != commit.incarnation
            or row.number("exe") != commit.execution
        ]

    def ended(self, keys: Sequence[Key]) -> None:
        """Remove the payloads of activities that are gone."""
        self._purge.chunks(self._known.gone(keys))

    async def lease(
        self, request: ActivityRequest, begun: set[ActivityLease]
    ) -> Sequence[LeasedActivity]:
        """Lease activities; the leases that the call itself takes are added to `begun`.

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
            _LOGGER.warning("a look for activities ended early: %s", error)
        await self.give_back(begun - {leased.lease for leased in found.leased})
        return tuple(found.leased)

    async def _look(self, found: _Found, *, again: bool = False) -> None:
        request, now = found.request, found.now
        if not again:
            await self._find_held(found)
        if request.unregistered_for is None:
            found.shards = self._shards.all
        else:
            # The rows of all tags are wanted, and most often there is none.
            found.shards = await self._shards_in_use()
        if found.room > 0 and request.tags and found.shards:
            looks_far = self._far_looks.begin(now)
            far = self._too_far(found) if looks_far else {}
            rounds = self._scan.rounds(
                self._ready(found, open_since(0)) | far,
                apart=self._ready(found, due_at(0)),
                first_page=2 * request.limit,
            )
            try:
                async for rows in rounds:
                    await self._take_from(rows, found)
                    if found.room <= 0:
                        break
                else:
                    if looks_far:
                        self._far_looks.end()
            finally:
                await rounds.aclose()
        if found.room > 0 and request.unregistered_for is not None:
            await self._take_unregistered(found)
        if found.under_way and not found.leased and not again:
            # Where nothing else is ready, wait for the rest of commits of processes that died.
            await asyncio.gather(*found.under_way)
            found.seen.clear()
            await self._look(found, again=True)

    async def complete(self, completion: ActivityCompletion) -> None:
        """Remove the activity and post its message, as one."""
        lease, message = completion.lease, completion.message
        lock = await self._finished_lock(lease.instance)
        if lock is None or not lock.running:
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete_activity")
        buffer = ChunkBuffer.empty()
        post = self._changes.post(message, buffer)
        await buffer.write(self._table)
        removal = Delete(
            key=self._key(lease),
            condition=WANTED,
            values={
                ":token": lease.token,
                ":inc": lock.incarnation,
                ":exe": lock.execution,
            },
        )
        validities = {lease.instance: lock.validity}
        try:
            outcome = await self._changes.carry_out(
                [post], fence=lambda _: [removal], validities=validities
            )
        except FenceFailed:
            await buffer.remove(self._table)
            raise ActivityLeaseLost(
                lease.instance, [lease.activity], operation="complete_activity"
            ) from None
        self._purge.chunks(outcome.unused)
        self._forget(lease)
        self.ended([self._key(lease)])

    async def release(self, release: ActivityRelease) -> None:
        """Give a lease back, if it stands, and mark the instance where that is asked for."""
        lease, now = release.lease, self._clock.now()
        lock = await self._finished_lock(lease.instance)
        if lock is None or not lock.running:
            return
        row = await self._table.get(*self._key(lease))
        if row is None or lock.validity.voids(row):
            return
        if row.text_or_none("tok") != lease.token:
            if not release.counted:
                await self._uncount(lease, row)
            return
        update = self._giving_back(release, row, now)
        if release.parked is None:
            await self._table.try_write(update)
        else:
            other_reason = "attribute_exists(pkr) AND pkr <> :reason"
            for change, reason in ((PARKING, SAME_REASON), (PARKING_ANEW, other_reason)):
                parking = Update(
                    key=(self._keys.partition(lease.instance), LOCK),
                    change=f"SET {change}",
                    condition=f"inc = :inc AND stat = :running AND {reason}",
                    values={
                        ":inc": lock.incarnation,
                        ":running": RUNNING,
                        **parking_values(release.parked, now),
                    },
                )
                with suppress(TransactionCancelled):
                    await self._table.transact([update, parking])
                    break
            else:
                return
        self._forget(lease)

    async def give_back(self, leases: Iterable[ActivityLease]) -> None:
        """Undo leases as if they had never been taken, now or as soon as the store answers."""
        await self._unreturned.give_back(leases)

    async def _give_back(self, lease: ActivityLease) -> None:
        key = self._key(lease)
        row = await self._table.get(*key)
        if row is not None and row.text_or_none("tok") == lease.token:
            ready = self._place(row, row.number("rdy"))
            await self._table.try_write(
                Update(
                    key=key,
                    change="SET dlv = dlv - :one, gsk = :ready REMOVE tok, unt",
                    condition="tok = :token",
                    values={":one": 1, ":ready": ready, ":token": lease.token},
                )
            )
        elif row is not None:
            await self._uncount(lease, row)
        self._forget(lease)

    async def _uncount(self, lease: ActivityLease, row: Row) -> None:
        """Let a lease that was taken over, while its holder lived, not count as a delivery."""
        if row.text_or_none("tkf") == lease.token:
            await self._table.try_write(
                Update(
                    key=self._key(lease),
                    change="SET dlv = dlv - :one REMOVE tkf",
                    condition="tkf = :token",
                    values={":one": 1, ":token": lease.token},
                )
            )

    def _giving_back(self, release: ActivityRelease, row: Row, now: Instant) -> Update:
        change, freed = "SET rdy = :now, gsk = :ready", "REMOVE tok, unt"
        values: dict[str, Plain] = {":now": now, ":token": release.lease.token}
        values[":ready"] = self._place(row, now)
        if release.delay > timedelta(0):
            hidden = now + to_microseconds(release.delay)
            change += ", hid = :hidden"
            values[":hidden"] = hidden
            values[":ready"] = tag_prefix(row.text_or_none("tag")) + delayed_until(hidden)
        if not release.counted:
            change += ", dlv = dlv - :one"
            values[":one"] = 1
        return Update(
            key=self._key(release.lease),
            change=f"{change} {freed}",
            condition=LEASE_STANDS,
            values=values,
        )

    async def _shards_in_use(self) -> Sequence[int]:
        in_use = await at_once(
            self._table.query(Select(partition=self._keys.work(shard), index=True, limit=1))
            for shard in self._shards.all
        )
        return [shard for shard, page in zip(self._shards.all, in_use, strict=True) if page.rows]

    def _ready(self, found: _Found, first: str) -> dict[str, Select]:
        """Of each tag what is ready, from a place in its queue on."""
        return {
            f"ready {name}": Select(
                partition=partition,
                first=prefix + first,
                last=prefix + due_at(found.now, "~"),
                index=True,
            )
            for name, (partition, prefix) in self._prefixes(found).items()
        }

    def _too_far(self, found: _Found) -> dict[str, Select]:
        """Of each tag what is due, or locked, later than any lease ends that is right."""
        return {
            f"far {name}": Select(
                partition=partition,
                first=prefix + due_at(found.now + FARTHEST_END + 1),
                last=prefix + due_at(FOREVER),
                index=True,
            )
            for name, (partition, prefix) in self._prefixes(found).items()
        }

    def _prefixes(self, found: _Found) -> dict[str, tuple[str, str]]:
        return {
            f"{shard} {tag_prefix(tag)}": (self._keys.work(shard), tag_prefix(tag))
            for tag in found.request.tags
            for shard in found.shards
        }

    async def _find_held(self, found: _Found) -> None:
        """What the token has already: an earlier call's answer may have been lost (ACT-6)."""
        token = found.request.token
        keys = tuple(self._tokens.get(token, ()))
        if not keys:
            return
        rows = await self._table.get_many(keys)
        locks = await self._locks([self._instance_of(row) for row in rows.values()])
        locks = await self._staged.finish_each(locks)
        for row in rows.values():
            lock = locks.get(self._instance_of(row))
            wanted = lock is not None and not lock.validity.voids(row)
            if wanted and _is_held(row, token, found.now) and found.room > 0:
                found.seen.add(_key_of(row))
                found.leased.append(await self._leased(row, found))

    async def _take_from(self, rows: Sequence[Row], found: _Found) -> None:
        served: list[Row] = []
        for row in rows:
            key = _key_of(row)
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

    async def _take_unregistered(self, found: _Found) -> None:
        """Those that waited long enough, which the row of one that was leased does not tell."""
        others = await self._other_queues.waiting(
            [self._keys.work(shard) for shard in found.shards],
            but={tag_prefix(tag) for tag in found.request.tags},
            now=found.now,
            limit=found.room,
        )
        found.unregistered += filter(found.may_have_waited, others)
        left = sorted(found.unregistered, key=lambda row: waits_since(row.text("gsk")))
        while left and found.room > 0:
            some, left = left[:READ_BATCH], left[READ_BATCH:]
            rows = await self._table.get_many(map(_key_of, some))
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
        leased = await leased_rows(
            self._table,
            [self._keys.work(shard) for shard in found.shards],
            {row.text_or_none("tag") for row in waited},
            found.now,
        )
        # The row in the index may stand behind a lease that was renewed.
        held = [
            *leased,
            *(row for row in read if is_in_force(row.number_or_none("unt"), found.now)),
        ]
        # A lease that this look has taken itself is of unregistered work.
        held = [row for row in held if _key_of(row) not in found.taken]
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
        self._purge.void_messages(rows, locks)
        wanted = [
            row
            for row in rows
            if (lock := locks.get(self._instance_of(row))) is not None
            # A staged commit may cancel it.
            and lock.stage is None
            and not lock.validity.voids(row)
            and _key_of(row) not in self._taking
        ]
        self._taking |= {_key_of(row) for row in wanted}
        try:
            taken = await at_once(self._take(row, found) for row in wanted)
        finally:
            self._taking -= {_key_of(row) for row in wanted}
        found.leased += [leased for leased in taken if leased is not None]

    async def _take(self, row: Row, found: _Found) -> LeasedActivity | None:
        """Lease it; what goes wrong with it must not cost the others of this call their leases."""
        instance, activity = self._instance_of(row), row.text("sk")[2:]
        lease = ActivityLease(instance=instance, activity=activity, token=found.request.token)
        self._remember(lease.token, _key_of(row))
        found.begun.add(lease)
        try:
            leased = await self._try_to_take(row, found)
            if leased is None:
                found.begun.discard(lease)
            else:
                found.taken.add(_key_of(row))
            return leased
        except ProviderError as error:
            _LOGGER.warning("activity %r of %r is put off: %s", activity, instance, error)
            with suppress(ProviderError):
                await self.release(
                    ActivityRelease(
                        lease=lease, counted=False, delay=PUT_OFF, parked=damage_mark(error)
                    )
                )
                found.begun.discard(lease)
            return None

    async def _try_to_take(self, row: Row, found: _Found) -> LeasedActivity | None:
        request, now, key = found.request, found.now, _key_of(row)
        until = now + to_microseconds(request.lease_for)
        change = "SET tok = :token, unt = :until, dlv = dlv + :one, gsk = :ready"
        # The index row tells whether a lease stands; where it lags, another look finds it right.
        stands = "attribute_not_exists(tok)"
        if is_leased(row.text("gsk")):
            change, stands = f"{change}, tkf = tok", "attribute_exists(tok)"
        is_mine, taken = await self._table.try_write(
            Update(
                key=key,
                change=f"{change} REMOVE hid",
                condition=f"attribute_exists(pk) AND inc = :inc AND exe = :exe AND {stands}"
                " AND (attribute_not_exists(unt) OR unt <= :now OR unt > :far)"
                " AND (attribute_not_exists(hid) OR hid <= :now OR hid > :far)"
                " AND (attribute_not_exists(due) OR due <= :now)",
                values={
                    ":token": request.token,
                    ":until": until,
                    ":one": 1,
                    ":ready": tag_prefix(row.text_or_none("tag"))
                    + leased_until(until, since=waits_since(row.text("gsk"))),
                    ":inc": row.text("inc"),
                    ":exe": row.number("exe"),
                    ":now": now,
                    ":far": now + FARTHEST_END,
                },
            )
        )
        if taken is None or not (is_mine or _is_held(taken, request.token, now)):
            if taken is not None and taken.get("gsk") == row["gsk"] and "unt" in taken:
                self._renewed[key, row.text("gsk")] = taken.number("unt")
            return None
        return await self._leased(taken, found)

    async def _leased(self, row: Row, found: _Found) -> LeasedActivity:
        self._known.learn(row)
        return LeasedActivity(
            instance=self._instance_of(row),
            incarnation=row.text("inc"),
            execution=row.number("exe"),
            id=row.text("sk")[2:],
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

    async def _finished_lock(self, instance: str) -> Lock | None:
        lock = (await self._locks([instance])).get(instance)
        return None if lock is None else await self._staged.finish(lock)

    async def _locks(self, instances: Sequence[str]) -> dict[str, Lock]:
        return await self._changes.read_sound_locks(tuple(dict.fromkeys(instances)))

    def _place(self, row: Row, since: Instant) -> str:
        """The place of an activity that anybody may take, as far as its time has come."""
        due, arrival = row.number_or_none("due") or 0, self._arrivals.next().text
        place = open_since(since, arrival) if due <= since else due_at(due, arrival)
        return tag_prefix(row.text_or_none("tag")) + place

    def _instance_of(self, row: Row) -> str:
        return self._keys.instance_of(row.text("pk"))

    def _key(self, lease: ActivityLease) -> Key:
        return (self._keys.partition(lease.instance), activity_key(lease.activity))

    def _remember(self, token: str, key: Key) -> None:
        keys = self._tokens.get(token) or {}
        keys[key] = None
        self._tokens[token] = keys

    def _forget(self, lease: ActivityLease) -> None:
        self._known.released(self._key(lease), lease)
        keys = self._tokens.get(lease.token)
        if keys is not None:
            keys.pop(self._key(lease), None)
            if not keys:
                del self._tokens[lease.token]


def _may_be_free(row: Row, found: _Found) -> bool:
    place = row.text("gsk")
    # What is due far ahead is no lock that was taken by a wrong clock.
    return ready_time(place) <= found.now or is_locked(place)


def _is_held(row: Row, token: str, now: Instant) -> bool:
    return row.text_or_none("tok") == token and is_in_force(row.number_or_none("unt"), now)


def _key_of(row: Row) -> Key:
    return (row.text("pk"), row.text("sk"))
