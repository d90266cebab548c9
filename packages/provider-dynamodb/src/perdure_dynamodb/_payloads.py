"""Payloads: small ones stand in their item, large ones in chunks of their own.

Chunks are written before the item that refers to them and are invisible until then, so they
need no transaction, which would cost twice. Their ids are never used again, hence chunks are
never read in part or changed. `litter` removes those whose writer died in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from perdure.errors import StorageCorrupt

from perdure_dynamodb._keys import chunk_key
from perdure_dynamodb._lives import Life
from perdure_dynamodb._table import Key, Table
from perdure_dynamodb._values import Item, Plain, Row

INLINE_LIMIT = 4096
CHUNK_BYTES = 350_000
"""An item may have 400 KB, its names and keys included."""

TRANSIENT = "P#"
"""Payloads of messages and activities: void when the life of the instance ends that they are for."""
LASTING = "X"
"""Payloads of histories, outputs and values: they last as long as their incarnation."""
LOOSE = f"{TRANSIENT}~"
"""Payloads of messages whose sender did not know the life of the instance (see `purge`)."""

MARKER = "mrk"
"""The attribute of chunks that belong to no life: the key of the marker that was put for them."""

Reference: TypeAlias = str
"""A chunk id and the number of its chunks, as `id:count`."""


Payload: TypeAlias = tuple[str, str, str]
"""Of a payload in chunks the partition, the chunk id and the number of chunks."""


def transient(life: Life) -> str:
    """The kind of payloads that are void when a life ends."""
    return f"{TRANSIENT}{life.text}"


def lasting(tag: str) -> str:
    """The kind of payloads that last as long as the instance of a tag."""
    return f"{LASTING}#{tag}" if tag else LASTING


def life_of_payload(item: Mapping[str, Plain]) -> str | None:
    """The life whose end removes the payload of a message, if it is in chunks and that is known."""
    reference = item.get(reference_name("dat"))
    if reference is None or is_loose(str(reference)):
        return None
    return str(reference).split("#")[1]


def is_loose(chunk_id: str) -> bool:
    """Whether a chunk is of a message whose sender did not know the life of the instance."""
    return chunk_id.startswith(f"{LOOSE}#")


@dataclass(slots=True)
class ChunkBuffer:
    """Chunks that are to be written before the items that refer to them."""

    items: list[Item]
    payloads: list[Payload]

    @classmethod
    def empty(cls) -> ChunkBuffer:
        """No chunks yet."""
        return cls([], [])

    def place(
        self,
        partition: str,
        data: bytes,
        *,
        kind: str,
        name: str = "dat",
        inline_limit: int | None = None,
    ) -> dict[str, Plain]:
        """The attributes that hold the payload, or refer to its chunks, in an item."""
        if len(data) <= (INLINE_LIMIT if inline_limit is None else inline_limit):
            return {name: data}
        chunk_id = f"{kind}#{uuid.uuid4().hex}"
        parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        for number, part in enumerate(parts):
            self.items.append({"pk": partition, "sk": chunk_key(chunk_id, number), "dat": part})
        self.payloads.append((partition, chunk_id, str(len(parts))))
        return {reference_name(name): f"{chunk_id}:{len(parts)}", size_name(name): len(data)}

    def name_marker(self, chunk_ids: Collection[str], marker: Key) -> None:
        """Let the chunks of these ids that belong to no life name the marker that is put for them."""
        for item in self.items:
            chunk_id = str(item["sk"]).rpartition("#")[0]
            if is_loose(chunk_id) and chunk_id in chunk_ids:
                item[MARKER] = list(marker)

    async def write(self, table: Table) -> None:
        """Write all chunks."""
        if self.items:
            await table.put_many(self.items)

    async def remove(self, table: Table) -> None:
        """Remove all chunks, since what would have referred to them was not written."""
        await table.delete_many((str(item["pk"]), str(item["sk"])) for item in self.items)


def reference_name(name: str) -> str:
    """The attribute that refers to the chunks of a payload."""
    return f"{name}c"


def marker_of(row: Row) -> Key:
    """The key of the marker that was put for a chunk which belongs to no life."""
    partition, sort = row.texts(MARKER)
    return partition, sort


def size_name(name: str) -> str:
    """The attribute that tells the size of a payload in chunks."""
    return f"{name}z"


def size_of(row: Row, name: str = "dat") -> int:
    """The size of an item's payload, without reading it."""
    size = row.number_or_none(size_name(name))
    return len(row.bytes_or_none(name) or b"") if size is None else size


def chunks_of(row: Row, name: str = "dat") -> tuple[Key, ...]:
    """The keys of the chunks that an item refers to."""
    reference = row.text_or_none(reference_name(name))
    if reference is None:
        return ()
    chunk_id, _, count = reference.rpartition(":")
    return tuple((row.text("pk"), chunk_key(chunk_id, number)) for number in range(int(count)))


async def read_payloads(table: Table, rows: Sequence[Row], name: str = "dat") -> list[bytes]:
    """The payloads of the rows, in order."""
    wanted = [chunks_of(row, name) for row in rows]
    chunks = await table.get_many(key for keys in wanted for key in keys)
    return [
        _join(chunks, keys) if keys else row.bytes_or_none(name) or b""
        for row, keys in zip(rows, wanted, strict=True)
    ]


async def read_payload(table: Table, row: Row, name: str = "dat") -> bytes | None:
    """The payload of one row, or None where it has none."""
    if name not in row and reference_name(name) not in row:
        return None
    [data] = await read_payloads(table, [row], name)
    return data


def _join(chunks: Mapping[Key, Row], keys: Iterable[Key]) -> bytes:
    parts: list[bytes] = []
    for key in keys:
        row = chunks.get(key)
        if row is None:
            raise StorageCorrupt(
                f"a part of a payload is missing: {key[0]!r} / {key[1]!r}; it was removed by"
                " something else than Perdure",
                operation="read",
            )
        parts.append(row.bytes_or_none("dat") or b"")
    return b"".join(parts)
