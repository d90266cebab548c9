"""Activities after they were leased: completing, releasing and giving back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from perdure.clock import Instant, to_microseconds
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ParkedMark,
    TurnCommit,
)
from perdure.errors import ActivityLeaseLost, StorageUnavailable

from perdure_dynamodb._activity_items import (
    LeasedRows,
    free_place,
    id_of,
    key_of_work,
    prefix_of_work,
    row_key,
    wanted,
    wanted_values,
)
from perdure_dynamodb._activity_memory import ActivityMemory
from perdure_dynamodb._change_kinds import FenceFailed, Mailbox
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import delayed_until
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._listed import parked_item
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import (
    PARKING,
    PARKING_AGAIN,
    RUNNING,
    SAME_REASON,
    Lock,
    parking_values,
)
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Delete, Key, Put, Update
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._unreturned_leases import UnreturnedLeases
from perdure_dynamodb._values import Item, Plain, Row


class Activities:
    """The leased activities of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        memory: ActivityMemory,
        litter: Litter,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._staged = staged_commits
        self._tokens: BoundedMemory[str, dict[Key, None]] = BoundedMemory()
        self._known = memory
        self._rows = LeasedRows(namespace, memory)
        self._litter = litter
        self._unreturned: UnreturnedLeases[ActivityLease] = UnreturnedLeases(self._give_back)

    def added(self, commit: TurnCommit, items: Sequence[Item]) -> None:
        """Remember what a commit has added, so that its end needs no reading."""
        for item in items:
            row = Row(item)
            self._known.learn(row)
            if commit.activity_token is not None and "tok" in item:
                self.remember(commit.activity_token, row_key(row))

    async def lost(self, commit: TurnCommit, life: Life) -> list[str]:
        """Which of the activities that a commit finishes are not leased as it says, in this life."""
        rows = await self._rows.read(tuple(commit.finish))
        return [
            lease.activity
            for lease in commit.finish
            if (row := rows.get(lease)) is None
            or row.text_or_none("tok") != lease.token
            or row.text("inc") != commit.incarnation
            or row.number("exe") != commit.execution
            or row.get(LIFE, life.text) != life.text
        ]

    def ended(self, keys: Sequence[Key]) -> None:
        """Remove the payloads of activities that are gone."""
        self._namespace.purge.chunks(self._known.gone(keys))

    def remember(self, token: str, key: Key) -> None:
        """A lease is about to be asked for: its answer may be lost."""
        keys = self._tokens.get(token) or {}
        keys[key] = None
        self._tokens[token] = keys

    def attempted(self, token: str) -> tuple[Key, ...]:
        """The activities that were, or may have been, leased under the token."""
        return tuple(self._tokens.get(token, ()))

    def claim_unreturned(self, token: str) -> set[ActivityLease]:
        """The leases under a token that asks again, which could not be given back before."""
        return self._unreturned.claim(token)

    async def complete(self, completion: ActivityCompletion) -> None:
        """Remove the activity and post its message, as one."""
        lease, message = completion.lease, completion.message
        lock = await self._finished_lock(lease.instance)
        if lock is None or not lock.running:
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete_activity")
        buffer = ChunkBuffer.empty()
        life = lock.life if message.instance == lease.instance else None
        post = self._changes.post(message, buffer, life=life)
        marks = await self._litter.mark(lease.instance, buffer)
        await buffer.write(self._table)
        key = self._key(lease, lock)
        removal = Delete(
            key=key,
            condition=wanted(key),
            values=wanted_values(lease, key, lock.incarnation, lock.execution, lock.life),
        )
        known = {lease.instance: Mailbox.of(lock)}
        try:
            outcome = await self._changes.carry_out(
                [post], fence=lambda _: [removal, *marks], known=known
            )
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            raise ActivityLeaseLost(
                lease.instance, [lease.activity], operation="complete_activity"
            ) from None
        self._namespace.purge.chunks(outcome.unused)
        self._forget(lease, key)
        self.ended([key])
        # It is completed; where the signal fails, the message reminds of itself.
        with suppress(StorageUnavailable):
            await self._changes.signal(outcome)

    async def release(self, release: ActivityRelease) -> None:
        """Give a lease back, if it stands, and mark the instance where that is asked for."""
        lease, now = release.lease, self._namespace.now
        lock = await self._finished_lock(lease.instance)
        if lock is None or not lock.running:
            return
        key = self._key(lease, lock)
        row = await self._table.get(*key)
        if row is None or id_of(row) != lease.activity or lock.validity.voids(row):
            return
        if row.text_or_none("tok") != lease.token:
            if not release.counted:
                await self._uncount(lease, row)
            return
        update = self._giving_back(release, row, lock, now)
        if release.parked is None:
            await self._table.try_write(update)
        elif not await self._give_back_parked(update, release.parked, lock, now):
            return
        self._forget(lease, key)

    async def _give_back_parked(
        self, update: Update, mark: ParkedMark, lock: Lock, now: Instant
    ) -> bool:
        """Give a lease back and mark the instance, as one; whether both were possible."""
        other_reason = "attribute_exists(pkr) AND pkr <> :reason"
        for change, reason in ((PARKING, SAME_REASON), (PARKING_AGAIN, other_reason)):
            parking = Update(
                key=self._namespace.lock_key(lock.instance),
                change=f"SET {change}",
                condition=f"inc = :inc AND stat = :running AND {reason}",
                values={
                    ":inc": lock.incarnation,
                    ":running": RUNNING,
                    **parking_values(mark, now),
                },
            )
            listed = Put(item=parked_item(self._namespace, lock))
            with suppress(TransactionCancelled):
                await self._table.transact([update, parking, listed])
                return True
        return False

    async def give_back(self, leases: Iterable[ActivityLease]) -> None:
        """Undo leases as if they had never been taken, now or as soon as the store answers."""
        await self._unreturned.give_back(leases)

    async def _give_back(self, lease: ActivityLease) -> None:
        row = (await self._rows.read([lease])).get(lease)
        if row is None:
            return
        if row.text_or_none("tok") == lease.token:
            ready, key = free_place(self._namespace, row, row.number("rdy")), row_key(row)
            values = wanted_values(lease, key, row.text("inc"), row.number("exe"), Life.of(row))
            await self._table.try_write(
                Update(
                    key=key,
                    change="SET dlv = dlv - :one, gsk = :ready REMOVE tok, unt",
                    condition=wanted(key),
                    values={":one": 1, ":ready": ready, **values},
                )
            )
        else:
            await self._uncount(lease, row)
        self._forget(lease, row_key(row))

    async def _uncount(self, lease: ActivityLease, row: Row) -> None:
        """Let a lease that was taken over, while its holder lived, not count as a delivery."""
        if row.text_or_none("tkf") == lease.token:
            await self._table.try_write(
                Update(
                    key=row_key(row),
                    change="SET dlv = dlv - :one REMOVE tkf",
                    condition="tkf = :token",
                    values={":one": 1, ":token": lease.token},
                )
            )

    def _giving_back(self, release: ActivityRelease, row: Row, lock: Lock, now: Instant) -> Update:
        change, freed = "SET rdy = :now, gsk = :ready", "REMOVE tok, unt"
        key = row_key(row)
        values: dict[str, Plain] = {
            ":now": now,
            **wanted_values(release.lease, key, lock.incarnation, lock.execution, lock.life),
        }
        values[":ready"] = free_place(self._namespace, row, now)
        if release.delay > timedelta(0):
            hidden = now + to_microseconds(release.delay)
            change += ", hid = :hidden"
            values[":hidden"] = hidden
            values[":ready"] = prefix_of_work(row) + delayed_until(hidden)
        if not release.counted:
            change += ", dlv = dlv - :one"
            values[":one"] = 1
        return Update(
            key=key,
            change=f"{change} {freed}",
            condition=wanted(key),
            values=values,
        )

    async def _finished_lock(self, instance: str) -> Lock | None:
        lock = (await self._changes.read_sound_locks((instance,))).get(instance)
        return None if lock is None else await self._staged.finish(lock)

    def _key(self, lease: ActivityLease, lock: Lock) -> Key:
        return key_of_work(self._namespace, lease, slot=lock.slot)

    def _forget(self, lease: ActivityLease, key: Key) -> None:
        self._known.released(key, lease)
        keys = self._tokens.get(lease.token)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._tokens[lease.token]
