"""Deleting external events that wait for instances which do not exist.

Such an event is deleted under the condition that its id still has no instance: so either it is
deleted, or the instance that comes gets it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from perdure.clock import Instant

from perdure_dynamodb._keys import LOCK, MAILBOX
from perdure_dynamodb._lives import LIFE
from perdure_dynamodb._messages import arrival_of
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import chunks_of
from perdure_dynamodb._table import ABSENT, READ_BATCH, Check, Delete, Select, at_once
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._values import Row


class EarlyEvents:
    """The events that wait for instances of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._table = namespace.table

    async def delete(
        self, instance: str | None, *, arrived_before: Instant | None, limit: int
    ) -> int:
        """Delete up to `limit` events, of one id or of all; returns how many there were."""
        count = 0
        async for rows in self._found(instance):
            old = [
                row for row in rows if arrived_before is None or arrival_of(row) < arrived_before
            ]
            deleted = await at_once(self._delete(row) for row in old[: max(0, limit - count)])
            count += sum(deleted)
            if count >= limit:
                break
        return count

    async def _found(self, instance: str | None) -> AsyncGenerator[Sequence[Row]]:
        """Events that may wait for an instance, some at a time."""
        keys = self._namespace.keys
        if instance is not None:
            first, last = MAILBOX
            select = Select(partition=keys.partition(instance), first=first, last=last)
            rows = [row async for row in self._table.query_all(select)]
            rows = sorted((row for row in rows if LIFE not in row), key=lambda row: row.text("ord"))
            for start in range(0, len(rows), READ_BATCH):
                yield rows[start : start + READ_BATCH]
            return
        for shard in self._namespace.shards.all:
            select = Select(partition=keys.waiting(shard), index=True, limit=READ_BATCH)
            while True:
                page = await self._table.query(select)
                found = await self._table.get_many(
                    (row.text("pk"), row.text("sk")) for row in page.rows
                )
                yield [row for row in found.values() if LIFE not in row]
                if page.next is None:
                    break
                select = Select(
                    partition=keys.waiting(shard), index=True, limit=READ_BATCH, start=page.next
                )

    async def _delete(self, row: Row) -> bool:
        partition, sort = row.text("pk"), row.text("sk")
        try:
            await self._table.transact(
                [
                    Check(key=(partition, LOCK), condition=ABSENT),
                    Delete(
                        key=(partition, sort),
                        condition=f"attribute_exists(pk) AND attribute_not_exists({LIFE})",
                    ),
                ]
            )
        except TransactionCancelled:
            return False
        await self._table.delete_many(chunks_of(row))
        return True
