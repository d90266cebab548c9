"""Litter: chunks of payloads whose writer died before the transaction that refers to them.

Chunks are written ahead, and nothing refers to them until the transaction does. So a marker, which
names them all, is put before the first of them, and the transaction removes it. A marker that is still
in the queue of litter after a while belongs to a writer that died, or that is very slow. Every process
looks for such markers now and then. It marks the marker first, under which condition the transaction
fails and its writer begins again, and then removes the chunks and the marker. It finds the work that
dead processes have left of deletions in the same queue.

A staged commit is decided before its messages are put. The transaction that decides takes the markers
out of the queue, so that they are not swept, and the last batch removes them. Until then they tell
`purge` that the chunks are wanted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta

from perdure.clock import Instant, to_microseconds

from perdure_dynamodb._keys import WORK_ITEM, chunk_key, due_at, litter_key
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, Payload
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._table import Delete, Key, Put, Select, Update, at_once
from perdure_dynamodb._values import Row

GRACE = timedelta(minutes=15)
"""So old a marker is when its chunks are removed."""
INTERVAL = timedelta(minutes=1)
"""How often a process looks for such markers."""
MOST = 100
"""Markers of each shard in one look."""
MARKER_BYTES = 300_000
"""An item may have 400 KB, its names and keys included."""


class Litter:
    """Marks the chunks of one namespace, and removes what is left of them."""

    def __init__(self, namespace: Namespace, removal: Removal) -> None:
        self._namespace = namespace
        self._removal = removal
        self._table = namespace.table
        self._looked_at: Instant = 0

    async def mark(self, instance: str, buffer: ChunkBuffer) -> Sequence[Delete]:
        """Put markers for chunks that are to be written; gives what a transaction removes with them.

        The markers stand in the partition of `instance`. Chunks that belong to no life name theirs
        (see `purge`).
        """
        marks: list[Delete] = []
        for payloads in _in_markers(buffer.payloads):
            mark = await self.mark_payloads(instance, payloads)
            buffer.name_marker({chunk_id for _, chunk_id, _ in payloads}, mark.key)
            marks.append(mark)
        return marks

    async def mark_payloads(self, instance: str, payloads: Sequence[Payload]) -> Delete:
        """Put one marker; gives what a transaction removes with it."""
        keys = self._namespace.keys
        key = (keys.partition(instance), litter_key(uuid.uuid4().hex))
        due = self._namespace.now + to_microseconds(GRACE)
        await self._table.write(
            Put(
                item={
                    "pk": key[0],
                    "sk": key[1],
                    "gpk": keys.litter(self._namespace.shards.of(instance)),
                    "gsk": due_at(due),
                    "ids": [text for payload in payloads for text in payload],
                }
            )
        )
        return Delete(key=key, condition="attribute_exists(pk) AND attribute_not_exists(swp)")

    async def drop(self, buffer: ChunkBuffer, marks: Sequence[Delete]) -> None:
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
                # The index may still show a marker that a staged commit has taken out of it.
                condition="attribute_exists(gpk)",
                values={":one": 1},
            )
        )
        if is_mine and marker is not None:
            await self._table.delete_many(marked_chunks(marker))
            await self._table.delete_many([key])


def _in_markers(payloads: Iterable[Payload]) -> list[list[Payload]]:
    """The payloads, as many together as a marker has room for."""
    groups: list[list[Payload]] = []
    size = MARKER_BYTES
    for payload in payloads:
        weight = sum(len(text.encode()) + 3 for text in payload)
        if size + weight > MARKER_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(payload)
        size += weight
    return groups


def kept_until_the_end(marks: Iterable[Delete]) -> list[Update]:
    """What the transaction that decides a staged commit does in place of removing the markers."""
    return [
        Update(key=each.key, change="REMOVE gpk, gsk", condition=each.condition) for each in marks
    ]


def marked_chunks(marker: Row) -> list[Key]:
    """The chunks, or parts of a manifest, that a marker names."""
    texts = marker.texts("ids")
    payloads = zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    return [
        (partition, chunk_key(chunk_id, number))
        for partition, chunk_id, count in payloads
        for number in range(int(count))
    ]
