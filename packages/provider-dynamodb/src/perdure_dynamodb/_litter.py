"""Litter: chunks of payloads whose writer died before the transaction that refers to them.

Chunks are written ahead, and nothing refers to them until the transaction does. So a marker is put
before the first of them, which names them all, and the transaction removes it. A marker that is still
there after a while belongs to a writer that died, or that is very slow. Every process looks for such
markers now and then. It marks the marker first, under which condition the transaction fails and its
writer begins again, and then removes the chunks and the marker. It finds the work that dead
processes have left of deletions in the same queue.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from perdure.clock import Instant, to_microseconds

from perdure_dynamodb._keys import WORK_ITEM, chunk_key, due_at, litter_key
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, Payload, is_loose
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._table import Action, Delete, Key, Put, Select, Update, at_once
from perdure_dynamodb._values import Row

GRACE = timedelta(minutes=15)
"""So old a marker is when its chunks are removed."""
INTERVAL = timedelta(minutes=1)
"""How often a process looks for such markers."""
MOST = 100
"""Markers of each shard in one look."""


class Litter:
    """Marks the chunks of one namespace, and removes what is left of them."""

    def __init__(self, namespace: Namespace, removal: Removal) -> None:
        self._namespace = namespace
        self._removal = removal
        self._table = namespace.table
        self._looked_at: Instant = 0

    async def mark(self, instance: str, payloads: Sequence[Payload]) -> Sequence[Action]:
        """Put a marker for the chunks; gives what a transaction has to do with it.

        Chunks that belong to no life have their marker in their own partition (see `purge`). That of
        the others may stand anywhere, so they share it.
        """
        by_partition: dict[str, list[Payload]] = {}
        others: list[Payload] = []
        for payload in payloads:
            is_own = is_loose(payload[1])
            (by_partition.setdefault(payload[0], []) if is_own else others).append(payload)
        if others:
            anywhere = next(iter(by_partition), self._namespace.keys.partition(instance))
            by_partition.setdefault(anywhere, []).extend(others)
        return [await self._mark(partition, some) for partition, some in by_partition.items()]

    async def _mark(self, partition: str, payloads: Sequence[Payload]) -> Action:
        key = (partition, litter_key(uuid.uuid4().hex))
        shard = self._namespace.shards.of(self._namespace.keys.instance_of(partition))
        due = self._namespace.now + to_microseconds(GRACE)
        await self._table.write(
            Put(
                item={
                    "pk": key[0],
                    "sk": key[1],
                    "gpk": self._namespace.keys.litter(shard),
                    "gsk": due_at(due),
                    "ids": [text for payload in payloads for text in payload],
                }
            )
        )
        return Delete(
            key=key, condition="attribute_exists(pk) AND attribute_not_exists(swp)", values={}
        )

    async def drop(self, buffer: ChunkBuffer, marks: Sequence[Action]) -> None:
        """Remove chunks that nothing will refer to, and their marker."""
        await buffer.remove(self._table)
        await self._table.delete_many(each.key for each in marks)

    def look_now_and_then(self) -> None:
        """Begin a look beside the caller's work, if it is time for one."""
        now = self._namespace.now
        if abs(now - self._looked_at) >= to_microseconds(INTERVAL):
            self._looked_at = now
            self._namespace.purge.start(self._look(now))

    async def _look(self, now: Instant) -> None:
        pages = await at_once(
            self._table.query(
                Select(
                    partition=self._namespace.keys.litter(shard),
                    last=due_at(now),
                    index=True,
                    limit=MOST,
                )
            )
            for shard in self._namespace.shards.all
        )
        for page in pages:
            for row in page.rows:
                key = (row.text("pk"), row.text("sk"))
                if key[1].startswith(WORK_ITEM):
                    await self._removal.finish(key)
                else:
                    await self._sweep(key)

    async def _sweep(self, key: Key) -> None:
        is_mine, marker = await self._table.try_write(
            Update(
                key=key,
                change="SET swp = :one",
                condition="attribute_exists(pk)",
                values={":one": 1},
            )
        )
        if is_mine and marker is not None:
            await self._table.delete_many(_chunks_of(marker))
            await self._table.delete_many([key])


def _chunks_of(marker: Row) -> list[Key]:
    texts = marker.texts("ids")
    payloads = zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    return [
        (partition, chunk_key(chunk_id, number))
        for partition, chunk_id, count in payloads
        for number in range(int(count))
    ]
