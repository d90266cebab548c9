"""Removing what a deletion has left: everything of an incarnation, or of executions that were pruned.

The transaction that deletes puts a work item, which says what is to be removed. The call that
deleted does that work; if it dies, the work item is found in the queue of litter after a while, and
the process that finds it goes on. Everything says whose it is (see `lives`), so an
instance that has the id by then is not touched.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

from perdure.clock import to_microseconds
from perdure.errors import ProviderError

from perdure_dynamodb._keys import (
    MAILBOX,
    PARKED,
    due_at,
    end_of_execution,
    executions,
    work_item_key,
)
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import MARKER, chunks_of, is_loose
from perdure_dynamodb._table import Key, Put, Select, in_groups
from perdure_dynamodb._values import Item, Row

GRACE = timedelta(minutes=1)
"""So old a work item is when another process takes it over."""

PAGE = 500
"""So many items are read, and removed, at a time."""

_NEEDED = f"pk, sk, inc, exe, datc, oupc, {LIFE}, {MARKER}"
_LOGGER = logging.getLogger("perdure.dynamodb")

_Belongs: TypeAlias = Callable[[Row], bool]


class Removal:
    """Removes what deletions have left in one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._table = namespace.table

    def work_item(self, lock: Lock, *, before: int | None = None) -> Item:
        """The work item for an instance, or for its executions before one."""
        due = self._namespace.now + to_microseconds(GRACE)
        item: Item = {
            "pk": lock.row.text("pk"),
            "sk": work_item_key(lock.life.tag, before),
            "gpk": self._namespace.keys.litter(self._namespace.shards.of(lock.instance)),
            "gsk": due_at(due),
            "inc": lock.incarnation,
            LIFE: lock.life.text,
        }
        return item if before is None else {**item, "bef": before}

    async def begin_late(self, lock: Lock) -> None:
        """Remove messages that came for an instance when it was deleted already.

        They are removed beside the caller's work. The work item is one of its own: that of the
        deletion may be done at any moment.
        """
        work = self.work_item(lock)
        work |= {"sk": f"{work['sk']}#{uuid.uuid4().hex}", "msg": 1}
        await self._table.write(Put(item=work))
        self._namespace.purge.start(self.begin(work))

    async def begin(self, work: Item) -> None:
        """Do the work that a transaction has just decided, or leave it to others."""
        try:
            await self._carry_out(Row(work))
        except ProviderError as error:
            _LOGGER.warning("what was deleted is removed from the table later: %s", error)

    async def finish(self, key: Key) -> None:
        """Do the work that another process has left."""
        work = await self._table.get(*key)
        if work is not None:
            await self._carry_out(work)

    async def _carry_out(self, work: Row) -> None:
        partition, tag = work.text("pk"), Life.of(work).tag
        before = work.number_or_none("bef")
        if before is None:
            first, last = MAILBOX if "msg" in work else (None, None)
            every = Select(partition=partition, first=first, last=last, only=_NEEDED, limit=PAGE)
            await self._remove_all(every, _of_creation(tag, work.text("inc")))
        else:
            first, _ = executions(tag)
            last = end_of_execution(before - 1, tag)
            for kind in ("E", "H"):
                pruned = Select(
                    partition=partition,
                    first=kind + first[1:],
                    last=kind + last[1:],
                    only=_NEEDED,
                    limit=PAGE,
                )
                await self._remove_all(pruned, lambda _: True)
        await self._table.delete_many([(partition, work.text("sk"))])

    async def _remove_all(self, select: Select, belongs: _Belongs) -> None:
        rows: list[Row] = []
        async for row in self._table.query_all(select):
            if belongs(row):
                rows.append(row)
            if len(rows) == PAGE:
                await self._remove(select.partition, rows)
                rows = []
        await self._remove(select.partition, rows)

    async def _remove(self, partition: str, rows: Sequence[Row]) -> None:
        # Another instance of the id may have put an item of the same key.
        shared = ("M#", "W#", PARKED)
        addressed = [row for row in rows if row.text("sk")[:2] in shared]
        await self._namespace.purge.unless_replaced(addressed)
        others = [row for row in rows if row.text("sk")[:2] not in shared]
        chunks = [key for row in others for name in ("dat", "oup") for key in chunks_of(row, name)]
        await self._namespace.purge.loose_chunks(partition, others)
        others = [row for row in others if not is_loose(row.text("sk"))]
        # Nothing tells of a payload whose item is gone.
        for keys in (chunks, [_key_of(row) for row in others]):
            for some in in_groups(keys, PAGE):
                await self._table.delete_many(some)


def _of_creation(tag: str, incarnation: str) -> _Belongs:
    """Whether an item belongs to the instance that has the tag."""

    def belongs(row: Row) -> bool:
        kind, _, rest = row.text("sk").partition("#")
        if kind in ("W", PARKED):
            return row.get("inc") == incarnation and Life.of(row).tag == tag
        match kind:
            case "M":
                return LIFE in row and Life.of(row).tag == tag
            case "E" | "H" | "X":
                return rest.startswith(f"{tag}#") if tag else _is_untagged(rest)
            case "K":
                return rest.startswith(f"{tag or '-'}#")
            case "P" if is_loose(row.text("sk")):
                return True
            case "D" | "P" | "Q":
                is_old = not tag and _is_untagged(rest)
                return is_old or rest.startswith(f"{tag or '-'}.")
            case "N":
                return not tag
            case _:
                return False

    return belongs


def _is_untagged(rest: str) -> bool:
    """Whether a key goes on with a number or a digest: version 0.1.0 gave no tags."""
    return rest[:1] in set("0123456789abcdef")


def _key_of(row: Row) -> Key:
    return (row.text("pk"), row.text("sk"))
