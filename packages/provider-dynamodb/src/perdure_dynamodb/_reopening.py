"""Reopening: the next execution of an instance, in whatever state it is, as one transaction.

The transaction changes the lock item, records the execution that ends, and puts the start message.
It happens only if the lock item is as it was read. What the old execution left is void by its number.
An instance that had ended begins another life, so the messages of the old one are void whenever
they come; the few that have no stamp are removed before.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.clock import Instant
from perdure.contract import InstanceReopening, InstanceStatus
from perdure.errors import HistoryConflict, InstanceNotFound, StorageUnavailable

from perdure_dynamodb._change_kinds import Change, FenceFailed, Remove, Replace
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import PARKED, execution_key, open_since, turn_prefix
from perdure_dynamodb._listed import continued_item, status_item_of
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import RUNNING, Lock
from perdure_dynamodb._messages import message_item
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Update
from perdure_dynamodb._values import Item, Plain

_MOST_ATTEMPTS = 20

_OUTPUT = ("oup", "oupc", "oupz")
_OVER = (
    *_OUTPUT,
    *("pkr", "pkd", "pks", "hid", "tok", "unt", "tkf"),
    *("ans", "acu", "inu", "nxt", "nxn", "nxs", "slt"),
)
"""What a lock item tells of the execution that ends, and of its lease."""


class Reopening:
    """Reopens instances of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        litter: Litter,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._staged = staged_commits
        self._litter = litter

    async def reopen(self, reopening: InstanceReopening) -> None:
        """Begin the next execution, or recognise the repeat, or refuse."""
        for _ in range(_MOST_ATTEMPTS):
            lock = await self._find(reopening)
            if lock.last_commit == reopening.id:
                return
            found = (lock.execution, lock.last_event)
            if lock.execution != reopening.execution:
                expected = (reopening.execution, lock.last_event)
                raise HistoryConflict(
                    reopening.instance, expected=expected, found=found, operation="reopen_instance"
                )
            if not lock.running:
                await self._namespace.purge.early_events(lock)
            if await self._try(lock, reopening):
                self._clear_up(lock)
                return
        raise StorageUnavailable(
            f"instance {reopening.instance!r} changed {_MOST_ATTEMPTS} times while it was reopened;"
            " try again",
            operation="reopen_instance",
        )

    async def _find(self, reopening: InstanceReopening) -> Lock:
        row = await self._table.get(*self._namespace.lock_key(reopening.instance))
        if row is not None and row.text("inc") == reopening.incarnation:
            lock = await self._staged.finish(Lock(reopening.instance, row))
            if lock.incarnation == reopening.incarnation:
                return lock
        raise InstanceNotFound(reopening.instance)

    async def _try(self, lock: Lock, reopening: InstanceReopening) -> bool:
        """Reopen it if it is as it was read."""
        now, buffer = self._namespace.now, ChunkBuffer.empty()
        life = lock.life if lock.running else lock.life.next
        start = message_item(self._namespace, reopening.start, buffer, life=life)
        changes: list[Change] = [
            Replace(item=self._record(lock, now)),
            Replace(item={**start, LIFE: life.text}),
        ]
        if not lock.running:
            changes.append(Replace(item=status_item_of(self._namespace, lock, RUNNING)))
        elif not lock.is_listed_as_continued:
            item = continued_item(self._namespace, lock.instance, lock.created)
            changes.append(Replace(item=item))
        if lock.is_parked:
            changes.append(Remove(key=(lock.row.text("pk"), PARKED)))
        marks = await self._litter.mark(reopening.instance, buffer)
        await buffer.write(self._table)
        update = self._update(lock, reopening, life, now, has_chunks=bool(buffer.payloads))
        try:
            await self._changes.carry_out(changes, fence=lambda _: [update, *marks])
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            return False
        return True

    def _record(self, lock: Lock, now: Instant) -> Item:
        """The record of the execution that ends; its output stays where it is."""
        status = InstanceStatus.CONTINUED_AS_NEW if lock.running else lock.status
        record: Item = {
            "pk": lock.row.text("pk"),
            "sk": execution_key(lock.execution, lock.life.tag),
            "stat": status.value,
            "evn": lock.last_event,
            "sta": lock.row.number("sta"),
            "fin": now if lock.running else lock.row.number("upd"),
        }
        return record | {name: lock.row[name] for name in _OUTPUT if name in lock.row}

    def _update(
        self,
        lock: Lock,
        reopening: InstanceReopening,
        life: Life,
        now: Instant,
        *,
        has_chunks: bool,
    ) -> Update:
        version = reopening.version or (None if reopening.unpin else lock.version)
        engine = lock.engine if reopening.engine is None else reopening.engine
        prefix = turn_prefix(lock.name, version, engine)
        sets = [
            "exe = :next, evn = :zero, tev = tev + :events, stat = :running, att = :zero",
            "trn = trn + :one, cid = :id, upd = :now, sta = :now, rel = :now, eng = :engine",
            f"{LIFE} = :next_life",
            "gpk = :queue, gsk = :place",
        ]
        values: dict[str, Plain] = {
            ":next": lock.execution + 1,
            ":zero": 0,
            ":one": 1,
            ":events": lock.last_event,
            ":running": RUNNING,
            ":id": reopening.id,
            ":now": now,
            ":engine": engine,
            ":life": lock.life.text,
            ":next_life": life.text,
            ":queue": self._namespace.turn_queue(lock.instance),
            ":place": prefix + open_since(now),
            ":inc": lock.incarnation,
            ":turn": lock.turn,
        }
        removes = list(_OVER)
        if version is None:
            removes.append("ver")
        else:
            sets.append("ver = :version")
            values[":version"] = version
        if lock.running and not lock.is_listed_as_continued:
            sets.append("can = :one")
        if has_chunks:
            sets.append("lit = :one")
        return Update(
            key=self._namespace.lock_key(lock.instance),
            change=f"SET {', '.join(sets)} REMOVE {', '.join(removes)}",
            condition="inc = :inc AND trn = :turn AND attribute_not_exists(stg)"
            f" AND {lock.life.condition}",
            values=values,
        )

    def _clear_up(self, lock: Lock) -> None:
        purge = self._namespace.purge
        left = lock.validity
        if left.running:
            left = replace(left, execution=left.execution + 1)
        purge.instance(lock.instance, left, signals=lock.signals)
        answer = lock.row.text_or_none("ans")
        if answer is not None:
            purge.answer(lock.instance, answer)
