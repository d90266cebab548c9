"""Removing what is void: messages, activities and their payloads that no call will ever take.

Nothing depends on it: what is void is recognised wherever it is read. It is done beside the
caller's work, and what a crash leaves behind is removed by the process that meets it in a queue. An
item is removed only if it stays void whatever happens to its instance, and under the condition
that it is still the one that was found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence

from perdure.errors import ProviderError

from perdure_dynamodb._keys import LOCK, VOID_RANGE, Keys, in_use_key
from perdure_dynamodb._locks import RUNNING, Lock, Validity
from perdure_dynamodb._payloads import chunks_of
from perdure_dynamodb._table import Delete, Key, Select, Table, Update, at_once
from perdure_dynamodb._values import Plain, Row

_NEEDED = "pk, sk, inc, exe, datc"

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

    def void_rows(self, rows: Sequence[Row]) -> None:
        """Remove items, read from the table, that are void."""
        if rows:
            self.start(self._remove(rows))

    def void_messages(self, rows: Sequence[Row], locks: Mapping[str, Lock]) -> None:
        """Remove those of the rows of a queue that are void; other rows are no business here."""
        void: list[Row] = []
        ended: dict[str, Lock] = {}
        for row in rows:
            lock = locks.get(self._keys.instance_of(row.text("pk")))
            if lock is not None and not lock.running:
                # The rest of a staged commit comes first.
                if lock.stage is None:
                    ended[lock.instance] = lock
            elif lock is not None and row.text("sk") != LOCK and lock.validity.outlived(row):
                void.append(row)
        self.void_rows(void)
        for lock in ended.values():
            self.instance(lock.instance, lock.validity)

    def answer(self, instance: str, answer: str) -> None:
        """Remove the ids in use of a commit that is not the last one any more."""
        self.start(self._remove_range(instance, in_use_key(answer, 0)[:-5]))

    async def _remove_range(self, instance: str, prefix: str) -> None:
        select = Select(
            partition=self._keys.partition(instance), first=prefix, last=prefix + "~", only="pk, sk"
        )
        rows = [row async for row in self._table.query_all(select)]
        await self._table.delete_many((row.text("pk"), row.text("sk")) for row in rows)

    def instance(self, instance: str, validity: Validity) -> None:
        """Remove all that the end of an instance, or of an execution, made void."""
        self.start(self._purge(instance, validity))

    async def _purge(self, instance: str, validity: Validity) -> None:
        first, last = VOID_RANGE
        ranges = [(first, last)] if not validity.running else [("M#", "M$"), ("W#", "W$")]
        for low, high in ranges:
            select = Select(
                partition=self._keys.partition(instance), first=low, last=high, only=_NEEDED
            )
            rows = [row async for row in self._table.query_all(select)]
            await self._remove([row for row in rows if validity.outlived(row)])
        if not validity.running:
            # Until now it stood in the queue, so that what a crash leaves behind is found.
            await self._table.try_write(
                Update(
                    key=(self._keys.partition(instance), LOCK),
                    change="REMOVE gpk, gsk",
                    condition="stat <> :running AND attribute_exists(gpk)"
                    " AND attribute_not_exists(stg)",
                    values={":running": RUNNING},
                )
            )

    async def _remove(self, rows: Sequence[Row]) -> None:
        addressed = [row for row in rows if row.text("sk")[:2] in ("M#", "W#")]
        removed = await at_once(self._table.try_write(_unless_replaced(row)) for row in addressed)
        # The item as it was tells its chunks, which a row of the index does not.
        chunks = [
            key
            for row, (is_gone, was) in zip(addressed, removed, strict=True)
            if is_gone
            for key in chunks_of(was or row)
        ]
        others = [
            (row.text("pk"), row.text("sk"))
            for row in rows
            if row.text("sk")[:2] not in ("M#", "W#")
        ]
        await self._table.delete_many(chunks + others)

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Do something beside the caller's work that may be left undone."""
        task = asyncio.get_running_loop().create_task(_in_peace(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unless_replaced(row: Row) -> Delete:
    """Remove the item if it addresses what it addressed when it was found void."""
    conditions: list[str] = []
    values: dict[str, Plain] = {}
    for name in ("inc", "exe"):
        if name in row:
            conditions.append(f"{name} = :{name}")
            values[f":{name}"] = row[name]
        else:
            conditions.append(f"attribute_not_exists({name})")
    return Delete(
        key=(row.text("pk"), row.text("sk")), condition=" AND ".join(conditions), values=values
    )


async def _in_peace(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except ProviderError as error:
        _log.debug("void items were left for later: %s", error)
