"""Deleting a namespace: everything but its settings, which say where its queues are.

Whatever there is has a partition of which some item stands in the index. That item goes last, so a
deletion that was broken off finds the rest when it is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perdure.contract import InstanceStatus

from perdure_dynamodb._keys import LISTING, LITTER, LOCK
from perdure_dynamodb._litter import marked_chunks
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import READ_BATCH, Key, Page, Select, at_once

_NEEDED = "pk, sk, gpk, ids"


class NamespaceDeletion:
    """Deletes what is in one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys

    async def delete(self) -> None:
        """Delete everything, until the index shows nothing that the table still has."""
        await self._namespace.shards.refresh()
        while await self._delete_what_is_shown():
            pass
        await self._namespace.shards.note_that_it_is_empty()

    async def _delete_what_is_shown(self) -> bool:
        """Whether there was anything."""
        found = False
        for queue in self._queues():
            select = Select(partition=queue, index=True, limit=READ_BATCH)
            while True:
                page: Page = await self._table.query(select)
                partitions = list(dict.fromkeys(row.text("pk") for row in page.rows))
                # Those of parents may have nothing but links to children, and go first.
                for some in (await self._parents_of(partitions), partitions):
                    removed = await at_once(self._remove(partition) for partition in some)
                    found = found or any(removed)
                if page.next is None:
                    break
                select = Select(partition=queue, index=True, limit=READ_BATCH, start=page.next)
        return found

    def _queues(self) -> Iterable[str]:
        keys = self._keys
        for shard in self._namespace.shards.all:
            yield from (keys.turns(shard), keys.work(shard), keys.waiting(shard))
            yield from (keys.litter(shard), keys.parked(shard))
            # The listings last: all other work is found through them again.
            yield from (keys.listing(status.value, shard) for status in InstanceStatus)

    async def _parents_of(self, partitions: Iterable[str]) -> Sequence[str]:
        locks = await self._table.get_many((partition, LOCK) for partition in partitions)
        links = [row.row_or_none("par") for row in locks.values()]
        parents = [self._keys.partition(link.text("ins")) for link in links if link is not None]
        return list(dict.fromkeys(parents))

    async def _remove(self, partition: str) -> bool:
        """Remove a partition; whether it had anything."""
        select = Select(partition=partition, only=_NEEDED)
        steps: tuple[list[Key], list[Key], list[Key]] = ([], [], [])
        async for row in self._table.query_all(select):
            if row.text("sk").startswith(LITTER):
                # Chunks may stand alone in the partition of an instance that does not exist.
                steps[0].extend(marked_chunks(row))
            step = 0 if "gpk" not in row else 2 if row.text("sk") == LISTING else 1
            steps[step].append((partition, row.text("sk")))
        for keys in steps:
            await self._table.delete_many(keys)
        return any(steps)
