"""Staged commits: how a turn that no transaction can hold is committed all the same.

1. Its changes are written down, as a manifest, under keys of this attempt alone.
2. One small transaction, with all the conditions of a commit, changes the lock item and points
   it at the manifest. This decides: before it nothing happened, after it everything will.
3. The batches of the manifest are carried out, one transaction each, in order. Each moves the
   progress number `stp` of the lock item from its own place to the next; the last one takes
   the pointer away.

Why it is right. The progress number makes each batch happen exactly once, whichever process carries
it out: a process that comes late, after a stall or a crash, meets another number and has no effect.
Until the pointer is gone no process leases, commits, or runs activities of the instance; one that
wants to carries out the rest first. Looks for work leave it alone while the committer's lease is in
force, and otherwise don't wait for it. The lock item stands at the head of the queue meanwhile, so the
rest is found when the committer is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from perdure.clock import Instant
from perdure.contract import is_in_force
from perdure.errors import ProviderError, StorageCorrupt, StorageUnavailable

from perdure_dynamodb._change_kinds import FenceFailed, Mailbox
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._ids_in_use import IdsInUse
from perdure_dynamodb._keys import LOCK, locked_until, manifest_key, open_since
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._manifest import Batch, dump, load
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import CHUNK_BYTES
from perdure_dynamodb._table import Action, Delete, Key, Select, Update, at_once, in_groups
from perdure_dynamodb._values import Item, Plain

_LOGGER = logging.getLogger("perdure.dynamodb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A manifest that is written, but that no lock points at yet."""

    id: str
    batches: Sequence[Batch]
    keys: Sequence[Key]
    mark: Delete
    """What the transaction that decides removes with it: the marker of the manifest."""


@dataclass(slots=True)
class Finished:
    """What a look may go on with."""

    locks: dict[str, Lock] = field(default_factory=dict[str, Lock])
    under_way: list[asyncio.Task[Lock | None]] = field(
        default_factory=list["asyncio.Task[Lock | None]"]
    )
    """Of each lock that is settled beside the look; None where that failed."""

    async def rest(self) -> dict[str, Lock]:
        """The locks that were under way, finished."""
        finished = await asyncio.gather(*self.under_way)
        return {lock.instance: lock for lock in finished if lock is not None}


class StagedCommits:
    """Stages commits and carries staged ones out."""

    def __init__(
        self, namespace: Namespace, changes: Changes, in_use: IdsInUse, litter: Litter
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._changes = changes
        self._in_use = in_use
        self._litter = litter
        self._tasks: dict[str, asyncio.Task[Lock | None]] = {}

    async def stage(
        self,
        instance: str,
        batches: Sequence[Batch],
        *,
        stage: str,
        meanwhile: Callable[[], Awaitable[object]],
    ) -> Staged:
        """Write the manifest under the id `stage`, which no other attempt has.

        `meanwhile` is called now and then to keep the lease alive.
        """
        partition = self._keys.partition(instance)
        data = dump(batches)
        items: list[Item] = [
            {
                "pk": partition,
                "sk": manifest_key(stage, number),
                "dat": data[start : start + CHUNK_BYTES],
            }
            for number, start in enumerate(range(0, len(data), CHUNK_BYTES))
        ]
        payload = (partition, manifest_key(stage, 0)[:-6], str(len(items)))
        mark = await self._litter.mark_payloads(instance, [payload])
        for some in in_groups(items, 40):
            await self._table.put_many(some)
            await meanwhile()
        keys = [(partition, str(item["sk"])) for item in items]
        return Staged(id=stage, batches=batches, keys=keys, mark=mark)

    async def discard(self, staged: Staged) -> None:
        """Remove a manifest that was not committed."""
        await self._table.delete_many([*staged.keys, staged.mark.key])

    async def finish(self, lock: Lock, staged: Staged | None = None) -> Lock:
        """Carry out what is left of the staged commit that the lock points at.

        `staged`, where it is given, is that commit.
        """
        stage = lock.stage
        if stage is None:
            return lock
        batches = staged.batches if staged is not None and staged.id == stage else None
        while lock.stage == stage:
            if batches is None:
                batches = await self._load(lock)
                if batches is None:
                    lock = await self._read(lock.instance)
                    continue
            lock = await self._carry_out(lock, stage, batches)
        await self._clear(lock.instance, stage)
        return lock

    def finish_beside(self, locks: Mapping[str, Lock], now: Instant) -> Finished:
        """The locks that need no settling; the rest of a dead process's commit is carried out
        beside the caller's work.

        While the committer's lease is live, it is about to carry out the rest itself.
        """
        finished = Finished()
        for instance, lock in locks.items():
            if lock.stage is None or is_in_force(lock.until, now):
                finished.locks[instance] = lock
            else:
                finished.under_way.append(self._begin(lock))
        return finished

    async def finish_each(self, locks: Mapping[str, Lock]) -> dict[str, Lock]:
        """The locks, settled; one that cannot be settled now is passed over, for others' sake."""
        finished = await at_once(self._try_to_finish(lock) for lock in locks.values())
        return {lock.instance: lock for lock in finished if lock is not None}

    async def close(self) -> None:
        """Leave what is under way to the process that comes next."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, lock: Lock) -> asyncio.Task[Lock | None]:
        task = self._tasks.get(lock.instance)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._try_to_finish(lock))
            self._tasks[lock.instance] = task
            task.add_done_callback(lambda _: self._tasks.pop(lock.instance))
        return task

    async def _try_to_finish(self, lock: Lock) -> Lock | None:
        try:
            return await self.finish(lock)
        except ProviderError as error:
            _LOGGER.warning("instance %r is passed over for now: %s", lock.instance, error)
            return None

    async def _carry_out(self, lock: Lock, stage: str, batches: Sequence[Batch]) -> Lock:
        place = lock.row.number("stp")
        # It fails if another process carried this batch out: go on from where it is now.
        with suppress(FenceFailed):
            outcome = await self._changes.carry_out(
                batches[place],
                fence=lambda in_use: self._progress(lock, stage, place, len(batches), in_use),
                known={lock.instance: Mailbox(lock.validity, lock.prefix)},
            )
            self._namespace.purge.chunks(outcome.unused)
            await self._changes.signal(outcome)
        return await self._read(lock.instance)

    def _progress(
        self, lock: Lock, stage: str, place: int, batches: int, in_use: Sequence[str]
    ) -> Sequence[Action]:
        """The fence of a batch: it is the next one, and after it comes the one behind it."""
        values: dict[str, Plain] = {":stage": stage, ":place": place}
        sets: list[str] = []
        if in_use:
            sets.append("ans = :stage")
        if place + 1 < batches:
            sets.append("stp = :next")
            values[":next"] = place + 1
        removes: list[str] = []
        if place + 1 == batches:
            removes += ["stg", "stp", "stn"]
            is_freed = "stf" in lock.row
            if is_freed:
                removes += ["stf", "tok", "unt"]
            # One that has ended stands there until what it left behind is removed.
            until = lock.until if lock.running and not is_freed else None
            sets += ["gpk = :queue", "gsk = :ready"]
            values[":queue"] = self._namespace.turn_queue(lock.instance)
            values[":ready"] = lock.prefix + self._place_after(until)
        change = f"SET {', '.join(sets)}" if sets else ""
        if removes:
            change += f" REMOVE {', '.join(removes)}"
        update = Update(
            key=self._lock_key(lock.instance),
            change=change.strip(),
            condition="stg = :stage AND stp = :place",
            values=values,
        )
        if not in_use:
            return [update]
        return [update, self._in_use.put(lock.instance, stage, place, in_use)]

    def _place_after(self, until: Instant | None) -> str:
        """Where the instance stands after the last batch: messages may have come meanwhile."""
        now = self._namespace.now
        return open_since(now) if until is None else locked_until(until, since=now)

    async def _load(self, lock: Lock) -> list[Batch] | None:
        """The batches, or None where another process has finished and removed them."""
        prefix = manifest_key(lock.stage or "", 0)[:-5]
        select = Select(partition=lock.row.text("pk"), first=prefix, last=prefix + "~")
        parts = [row.bytes_or_none("dat") or b"" async for row in self._table.query_all(select)]
        if len(parts) == lock.row.number("stn"):
            return load(b"".join(parts))
        latest = await self._read(lock.instance)
        if latest.stage == lock.stage:
            raise StorageCorrupt(
                f"a staged commit of instance {lock.instance!r} has {len(parts)} parts instead of"
                f" {lock.row.number('stn')}; they were removed by something else than Perdure",
                operation="finish",
            )
        return None

    async def _clear(self, instance: str, stage: str) -> None:
        prefix = manifest_key(stage, 0)[:-5]
        select = Select(
            partition=self._keys.partition(instance),
            first=prefix,
            last=prefix + "~",
            only="pk, sk",
        )
        rows = [row async for row in self._table.query_all(select)]
        await self._table.delete_many((row.text("pk"), row.text("sk")) for row in rows)

    async def _read(self, instance: str) -> Lock:
        row = await self._table.get(*self._lock_key(instance))
        if row is None:
            # A repeat of the call sees the instance gone, and answers as the contract says.
            raise StorageUnavailable(
                f"instance {instance!r} was removed while its last commit was carried out",
                operation="finish",
            )
        return Lock(instance, row)

    def _lock_key(self, instance: str) -> Key:
        return (self._keys.partition(instance), LOCK)
