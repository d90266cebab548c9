"""Deletion: an instance is gone with one transaction on its lock item, and what it leaves is removed.

The transaction happens only if the lock item is as it was read, of an instance that has ended. It
removes what readers begin with: the lock item and the listings. From then on nothing shows the
instance, and its id is free. The transaction also puts a work item, so that the rest is removed
whatever happens to this process (see `removal`). Creating an instance in place of an ended one is the
same transaction with the lock item of the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.contract import InstanceStatus, NewInstance
from perdure.errors import (
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    StorageUnavailable,
)

from perdure_dynamodb._change_kinds import Change, Create, FenceFailed, Remove, Replace
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import CONTINUED, LISTING, executions
from perdure_dynamodb._listed import lasting_keys, status_item_of
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._locks import RUNNING, Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Delete, Put, Select, Update
from perdure_dynamodb._values import Plain, Row

_MOST_ATTEMPTS = 20

_ENDED = "stat <> :running"


class Deletion:
    """Deletes instances and executions of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        litter: Litter,
        removal: Removal,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._staged = staged_commits
        self._litter = litter
        self._removal = removal

    async def delete(self, instance: str, incarnation: str) -> bool:
        """Delete an ended instance; returns whether there was one."""
        for _ in range(_MOST_ATTEMPTS):
            lock = await self._lock(instance)
            if lock is None or lock.incarnation != incarnation:
                return False
            if lock.running:
                raise InstanceRunning(instance)
            await self._namespace.purge.early_events(lock)
            work = self._removal.work_item(lock)
            fence = Delete(
                key=self._namespace.lock_key(instance),
                condition=f"{_as_it_was(lock)} AND {_ENDED}",
                values={**_values(lock), ":running": RUNNING},
            )
            try:
                await self._changes.carry_out(
                    [*self._gone(lock), self._listing_gone(lock), Replace(item=work)],
                    fence=lambda _, fence=fence: [fence],
                )
            except FenceFailed:
                continue
            await self._removal.begin(work)
            return True
        raise self._too_many_changes(instance, "delete_instance")

    async def replace(self, new: NewInstance) -> None:
        """Create an instance in place of an ended one, if that is there."""
        for _ in range(_MOST_ATTEMPTS):
            lock = await self._lock(new.instance)
            if lock is not None and lock.incarnation == new.incarnation:
                return
            if lock is not None and (lock.running or lock.incarnation != new.replaces):
                raise InstanceAlreadyExists(new.instance)
            if await self._try_to_replace(lock, new):
                return
        raise self._too_many_changes(new.instance, "create_instance")

    async def _try_to_replace(self, lock: Lock | None, new: NewInstance) -> bool:
        buffer = ChunkBuffer.empty()
        create = self._changes.create(new, buffer, now=self._namespace.now)
        marks = await self._litter.mark(new.instance, buffer)
        await buffer.write(self._table)
        if lock is None:
            return await self._create(create, marks, buffer)
        await self._namespace.purge.early_events(lock)
        work = self._removal.work_item(lock)
        fence = Put(
            item=create.lock,
            condition=f"{_as_it_was(lock)} AND {_ENDED}",
            values={**_values(lock), ":running": RUNNING},
        )
        changes: list[Change] = [
            *self._gone(lock),
            *(Replace(item=item) for item in create.items),
            Replace(item=work),
        ]
        try:
            await self._changes.carry_out(changes, fence=lambda _: [fence, *marks])
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            return False
        await self._removal.begin(work)
        return True

    async def _create(self, create: Create, marks: Sequence[Delete], buffer: ChunkBuffer) -> bool:
        try:
            outcome = await self._changes.carry_out([create], fence=lambda _: marks)
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            return False
        self._namespace.purge.chunks(outcome.unused)
        return not outcome.in_use

    async def prune(self, instance: str, incarnation: str, *, before: int) -> int:
        """Delete the executions before one, but for the current one; returns how many there were."""
        for _ in range(_MOST_ATTEMPTS):
            lock = await self._lock(instance)
            if lock is None or lock.incarnation != incarnation:
                raise InstanceNotFound(instance)
            first, end = lock.first_execution, min(before, lock.execution)
            if end <= first:
                return 0
            first_key, last_key = executions(lock.life.tag)
            records = Select(partition=lock.row.text("pk"), first=first_key, last=last_key)
            ended = [row async for row in self._table.query_all(records)]
            work = self._removal.work_item(lock, before=end)
            changes, fence = self._pruning(lock, end, ended)
            try:
                await self._changes.carry_out(
                    [*changes, Replace(item=work)], fence=lambda _, fence=fence: [fence]
                )
            except FenceFailed:
                continue
            await self._removal.begin(work)
            return end - first
        raise self._too_many_changes(instance, "prune_executions")

    def _pruning(self, lock: Lock, end: int, ended: Sequence[Row]) -> tuple[list[Change], Update]:
        """What a pruning changes: the first execution, the counts, and the listings."""
        pruned = [row for row in ended if execution_of(row) < end]
        events = lock.row.number("tev") - sum(row.number("evn") for row in pruned)
        changes: list[Change] = []
        if not lock.running:
            counted = {"exe": lock.execution - end + 1}
            listing = status_item_of(
                self._namespace, lock, lock.status.value, events=events + lock.last_event
            )
            changes.append(Replace(item={**listing, **counted}))
        change = "SET prn = :end, tev = :events, trn = trn + :one"
        if not any(_has_continued(row) for row in ended if execution_of(row) >= end):
            changes += self._no_longer_continued(lock)
            change += " REMOVE can"
        return changes, Update(
            key=self._namespace.lock_key(lock.instance),
            change=change,
            condition=_as_it_was(lock),
            values={":end": end, ":events": events, ":one": 1, **_values(lock)},
        )

    def _gone(self, lock: Lock) -> list[Change]:
        """The removal of what is found without the lock item, but for the listing."""
        lasting = lasting_keys(self._namespace, lock)
        return [*self._no_longer_continued(lock), *(Remove(key=key) for key in lasting)]

    def _listing_gone(self, lock: Lock) -> Change:
        return Remove(key=(lock.row.text("pk"), LISTING))

    def _no_longer_continued(self, lock: Lock) -> list[Change]:
        # Version 0.1.0 did not tell by the lock item.
        may_be_listed = lock.is_listed_as_continued or (not lock.life.tag and lock.execution > 1)
        return [Remove(key=(lock.row.text("pk"), CONTINUED))] if may_be_listed else []

    async def _lock(self, instance: str) -> Lock | None:
        row = await self._table.get(*self._namespace.lock_key(instance))
        return None if row is None else await self._staged.finish(Lock(instance, row))

    def _too_many_changes(self, instance: str, operation: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"instance {instance!r} changed {_MOST_ATTEMPTS} times during {operation}; try again",
            operation=operation,
        )


def execution_of(row: Row) -> int:
    """The number of the ended execution that a record is of."""
    return int(row.text("sk").rpartition("#")[2])


def _has_continued(row: Row) -> bool:
    status = row.text_or_none("stat")
    return status in (None, InstanceStatus.CONTINUED_AS_NEW.value)


def _as_it_was(lock: Lock) -> str:
    """The condition that a lock item is as it was read, even if its incarnation was created again."""
    return f"inc = :inc AND trn = :turn AND attribute_not_exists(stg) AND {lock.life.condition}"


def _values(lock: Lock) -> dict[str, Plain]:
    """The values of `_as_it_was`."""
    return {":inc": lock.incarnation, ":turn": lock.turn, ":life": lock.life.text}
