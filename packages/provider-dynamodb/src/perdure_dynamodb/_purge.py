"""Removing what is void: messages, activities and their payloads that no call will ever take.

Nothing depends on it: what is void is recognised wherever it is read. It is done beside the
caller's work, and what a crash leaves behind is removed by the process that meets it in a queue. An
item is removed only if it stays void whatever happens to its instance, and under the condition
that it is still the one that was found. For what does not tell whose it is, the condition is that
the instance is as it was found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence

from perdure.errors import ProviderError, StorageUnavailable

from perdure_dynamodb._keys import (
    ACTIVITIES,
    EARLY_MARKER,
    LOCK,
    MAILBOX,
    VOID_RANGE,
    Keys,
    in_use_key,
)
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import RUNNING, Lock, Validity, unsignalled
from perdure_dynamodb._payloads import MARKER, chunks_of, is_loose, marker_of
from perdure_dynamodb._table import ABSENT, Check, Delete, Key, Select, Table, Update, at_once
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._values import Plain, Row

_NEEDED = f"pk, sk, inc, exe, datc, {LIFE}, {MARKER}"
_MOST_ROUNDS = 20

LONGEST_CLOSE = 2.0
"""Real seconds that closing waits for removals."""

_log = logging.getLogger("perdure.dynamodb")


class Purge:
    """Removes void items in the background, until it is closed."""

    def __init__(self, table: Table, keys: Keys) -> None:
        self._table = table
        self._keys = keys
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait a little for what is under way; what is left then is met in a queue later."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=LONGEST_CLOSE)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def chunks(self, keys: Iterable[Key]) -> None:
        """Remove chunks that nothing refers to any more."""
        wanted = list(keys)
        if wanted:
            self.start(self._table.delete_many(wanted))

    def void_rows(self, rows: Sequence[Row], validity: Validity) -> None:
        """Remove messages and activities, read from the table, that are void for an instance."""
        if rows:
            self.start(self._remove(rows, validity))

    def void_messages(self, rows: Sequence[Row], locks: Mapping[str, Lock]) -> None:
        """Remove those of the rows of a queue that are void; other rows are no business here."""
        ended: dict[str, Lock] = {}
        for row in rows:
            lock = locks.get(self._keys.instance_of(row.text("pk")))
            if lock is not None and not lock.running:
                # The rest of a staged commit comes first.
                if lock.stage is None:
                    ended[lock.instance] = lock
            elif lock is not None and row.text("sk") != LOCK and lock.validity.outlived(row):
                self.start(self._unless_replaced([row], life=lock.life))
        for lock in ended.values():
            self.instance(lock.instance, lock.validity, signals=lock.signals)

    def orphans(self, rows: Iterable[Row]) -> None:
        """Remove those of the rows of a queue that are messages of instances which were deleted."""
        keys = [key for row in rows if (key := _key_of(row))[1].startswith("M#")]
        if keys:
            self.start(self._remove_orphans(keys))

    def answer(self, instance: str, answer: str) -> None:
        """Remove the ids in use of a commit that is not the last one any more."""
        self.start(self._remove_range(instance, in_use_key(answer, 0)[:-5]))

    def instance(self, instance: str, validity: Validity, *, signals: int | None = None) -> None:
        """Remove all that the end of an instance, or of an execution, made void.

        `signals` is so many as there were before, where that is known.
        """
        self.start(self._purge(instance, validity, signals))

    async def early_events(self, lock: Lock) -> None:
        """Remove the events that came before an ended instance.

        They are its own as long as it exists, but nothing in them tells that. No other comes while
        it exists.
        """
        first, last = MAILBOX
        select = Select(partition=lock.row.text("pk"), first=first, last=last, only=_NEEDED)
        for _ in range(_MOST_ROUNDS):
            rows = [row async for row in self._table.query_all(select) if LIFE not in row]
            if not rows:
                return
            await at_once(self._remove_while_ended(row, lock.validity) for row in rows)
            latest = await self._table.get(lock.row.text("pk"), LOCK)
            if latest is None or latest.get("trn") != lock.turn:
                # Whatever the caller wants to do with the instance meets another one, and fails.
                return
        raise StorageUnavailable(
            f"the mailbox of instance {lock.instance!r} changed {_MOST_ROUNDS} times while it was"
            " emptied; try again",
            operation="purge",
        )

    async def _remove_range(self, instance: str, prefix: str) -> None:
        select = Select(
            partition=self._keys.partition(instance), first=prefix, last=prefix + "~", only="pk, sk"
        )
        rows = [row async for row in self._table.query_all(select)]
        await self._table.delete_many(_key_of(row) for row in rows)

    async def _purge(self, instance: str, validity: Validity, signals: int | None) -> None:
        if validity.running:
            for first, last in (MAILBOX, ACTIVITIES):
                await self._remove(await self._rows(instance, first, last), validity)
            return
        if signals is None:
            row = await self._table.get(self._keys.partition(instance), LOCK)
            signals = 0 if row is None else Lock(instance, row).signals
        rows = await self._rows(instance, *VOID_RANGE)
        addressed = [row for row in rows if row.text("sk")[:2] in ("M#", "W#")]
        await self._remove(addressed, validity)
        await self._table.delete_many(
            _key_of(row) for row in rows if is_part_of(validity.life, row.text("sk"))
        )
        await self.loose_chunks(self._keys.partition(instance), rows)
        await self._leave_queue(instance, validity, signals)

    async def _leave_queue(self, instance: str, validity: Validity, signals: int) -> None:
        """Take an ended instance out of the queue, where nothing is left.

        It stood there so that what a crash leaves behind is found. It goes on to stand there if a
        message came that this removal may not have seen.
        """
        values = _ended(validity)
        await self._table.try_write(
            Update(
                key=(self._keys.partition(instance), LOCK),
                change="REMOVE gpk, gsk",
                condition="attribute_exists(gpk) AND attribute_not_exists(stg)"
                f" AND {_ENDED} AND {validity.life.condition} AND {unsignalled(signals, values)}",
                values=values,
            )
        )

    async def _rows(self, instance: str, first: str, last: str) -> list[Row]:
        partition = self._keys.partition(instance)
        select = Select(partition=partition, first=first, last=last, only=_NEEDED)
        return [row async for row in self._table.query_all(select)]

    async def _remove(self, rows: Sequence[Row], validity: Validity) -> None:
        await self.unless_replaced([row for row in rows if validity.outlived(row)])
        others = [row for row in rows if not validity.outlived(row)]
        if validity.running:
            others = [row for row in others if validity.is_foreign(row)]
            await at_once(self._remove_foreign(row, validity) for row in others)
        else:
            await at_once(self._remove_while_ended(row, validity) for row in others)

    async def loose_chunks(self, partition: str, rows: Iterable[Row]) -> None:
        """Of chunks that belong to no life, remove those that nothing refers to, and nothing will.

        A chunk names a marker that was put before it. The marker goes with the put of the message
        that refers to the chunk, or after it. So a chunk that was seen, and then has no marker, and
        then no message, belongs to a message that was consumed or dropped.
        """
        loose = {_key_of(row): marker_of(row) for row in rows if is_loose(row.text("sk"))}
        if not loose:
            return
        markers = await self._table.get_many(loose.values())
        first, last = MAILBOX
        messages = Select(partition=partition, first=first, last=last, only=_NEEDED)
        kept = {key async for row in self._table.query_all(messages) for key in chunks_of(row)}
        await self._table.delete_many(
            key for key, marker in loose.items() if key not in kept and marker not in markers
        )

    async def unless_replaced(self, rows: Sequence[Row]) -> None:
        """Remove items, read from the table, and their payloads, if they are still those."""
        await self._unless_replaced(rows)

    async def _unless_replaced(self, rows: Sequence[Row], *, life: Life | None = None) -> None:
        removed = await at_once(self._table.try_write(_removal(row, life=life)) for row in rows)
        # The item as it was tells its chunks, which a row of the index does not.
        await self._table.delete_many(
            key
            for row, (is_gone, was) in zip(rows, removed, strict=True)
            if is_gone
            for key in chunks_of(was or row)
        )

    async def _remove_foreign(self, row: Row, validity: Validity) -> None:
        """Remove what is of another creation, while this life goes on."""
        check = Check(
            key=(row.text("pk"), LOCK),
            condition=f"inc = :inc AND {validity.life.condition}",
            values={":inc": validity.incarnation, ":life": validity.life.text},
        )
        await self._remove_under(check, row)

    async def _remove_while_ended(self, row: Row, validity: Validity) -> None:
        """Remove what may be of any life, while this one is over and no other has begun."""
        check = Check(
            key=(row.text("pk"), LOCK),
            condition=f"{_ENDED} AND {validity.life.condition}",
            values=_ended(validity),
        )
        await self._remove_under(check, row)

    async def _remove_orphans(self, keys: Iterable[Key]) -> None:
        rows = (await self._table.get_many(keys)).values()
        checks = [Check(key=(row.text("pk"), LOCK), condition=ABSENT) for row in rows]
        # An event without a stamp waits for the instance that comes.
        await at_once(
            self._remove_under(check, row)
            for check, row in zip(checks, rows, strict=True)
            if LIFE in row
        )

    async def _remove_under(self, check: Check, row: Row) -> None:
        try:
            await self._table.transact([check, _removal(row)])
        except TransactionCancelled:
            return
        await self._table.delete_many(chunks_of(row))

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Do something beside the caller's work that may be left undone."""
        task = asyncio.get_running_loop().create_task(_in_peace(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_ENDED = "inc = :inc AND stat <> :running"
"""That this incarnation exists and has ended."""


def _ended(validity: Validity) -> dict[str, Plain]:
    """The values of `_ended` and of the condition of a life."""
    return {":inc": validity.incarnation, ":running": RUNNING, ":life": validity.life.text}


def is_part_of(life: Life, sort_key: str) -> bool:
    """Whether a chunk or a part of a manifest is void when a life ends."""
    kind, sign, rest = sort_key.partition("#")
    if kind not in ("P", "Q") or not sign:
        # Version 0.1.0 kept an instance in the queue by a marker.
        return sort_key == EARLY_MARKER
    if not life.tag and rest[0] in "0123456789abcdef":
        # What version 0.1.0 wrote has no life in its key.
        return True
    return rest.startswith((f"{life.text}#", f"{life.text}."))


def _removal(row: Row, *, life: Life | None = None) -> Delete:
    """Remove the item if it addresses what it addressed when it was found void.

    A row of the index does not tell its life. It was found void by an instance of the given one, so
    the item is of the same creation, or has no stamp.
    """
    conditions: list[str] = []
    values: dict[str, Plain] = {}
    names = ["inc", "exe"]
    if life is None:
        names.append(LIFE)
    else:
        conditions.append(f"(attribute_not_exists({LIFE}) OR ({LIFE} > :from AND {LIFE} < :to))")
        values |= {":from": f"{life.prefix}.", ":to": f"{life.prefix}/"}
    for name in names:
        if name in row:
            conditions.append(f"{name} = :{name}")
            values[f":{name}"] = row[name]
        else:
            conditions.append(f"attribute_not_exists({name})")
    return Delete(key=_key_of(row), condition=" AND ".join(conditions), values=values)


def _key_of(row: Row) -> Key:
    return (row.text("pk"), row.text("sk"))


async def _in_peace(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except ProviderError as error:
        _log.debug("void items were left for later: %s", error)
