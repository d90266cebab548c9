"""Messages as items, and the reading of a mailbox.

A message's key is its id, so a second one of the same id meets the first; its place in the
mailbox is the attribute `ord`, and whoever reads the mailbox sorts by it. Reading is one
strongly consistent query, so that nothing that was acknowledged is ever missed.

Attributes: `kin` kind, `dat` payload, `inc`, `exe` what it addresses, `due` visible-at, `ord`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from perdure.clock import Instant
from perdure.contract import (
    Message,
    MessageKind,
    first_page,
)

from perdure_dynamodb._arrivals import Arrivals
from perdure_dynamodb._keys import (
    START_ORDER,
    Keys,
    due_at,
    message_key,
    open_since,
    usual_order,
)
from perdure_dynamodb._locks import Validity
from perdure_dynamodb._payloads import TRANSIENT, ChunkBuffer, chunks_of, read_payloads, size_of
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import Key, Select, Table
from perdure_dynamodb._values import Item, Row

UNLESS_HELD = "attribute_not_exists(pk)"


class MessageItems:
    """Makes items of messages."""

    def __init__(self, keys: Keys, shards: Shards, arrivals: Arrivals) -> None:
        self._keys = keys
        self._shards = shards
        self._arrivals = arrivals

    def item(self, message: Message, buffer: ChunkBuffer, *, order: str | None = None) -> Item:
        """The item, with a place in the ready queue; `order` for messages to the front."""
        arrival = self._arrivals.next()
        partition = self._keys.partition(message.instance)
        due = arrival.stamp if message.visible_at is None else message.visible_at
        shard = self._shards.of(message.instance)
        item: Item = {
            "pk": partition,
            "sk": message_key(message.id),
            "kin": message.kind.value,
            "ord": _order(message, order or usual_order(due, arrival.stamp, arrival.text)),
            "gpk": self._keys.turns(shard),
            "gsk": (
                open_since(arrival.stamp, arrival.text)
                if message.visible_at is None
                else due_at(due, arrival.text)
            ),
            **buffer.place(partition, message.data, kind=TRANSIENT),
        }
        if message.incarnation is not None:
            item["inc"] = message.incarnation
        if message.execution is not None:
            item["exe"] = message.execution
        if message.visible_at is not None:
            item["due"] = message.visible_at
        return item

    def waiting(self, item: Item, instance: str) -> Item:
        """The item of an event whose instance does not exist: out of the ready queue."""
        return {**item, "gpk": self._keys.waiting(self._shards.of(instance))}

    def is_waiting(self, row: Row) -> bool:
        """Whether the row is out of the ready queue."""
        return row.text("gpk").startswith(f"{self._keys.prefix}V#")


def _order(message: Message, order: str) -> str:
    return START_ORDER if message.kind is MessageKind.START else order


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a mailbox holds for whoever has the lease."""

    messages: tuple[Message, ...]
    more: bool
    chunks: dict[str, tuple[Key, ...]]
    """By message id, where the payload is in chunks."""
    visible_since: Instant | None
    """About when the earliest visible message became visible."""
    waiting: tuple[Row, ...]
    """Events that came before the instance and are not in the ready queue yet."""
    void: tuple[Row, ...]
    """What may be removed."""


async def read_mailbox(table: Table, partition: str) -> list[Row]:
    """All messages of a mailbox, in no particular order."""
    select = Select(partition=partition, first="M#", last="M$")
    return [row async for row in table.query_all(select)]


async def deliver(
    table: Table,
    message_items: MessageItems,
    rows: Sequence[Row],
    *,
    instance: str,
    validity: Validity,
    now: Instant,
    held: Collection[str] = frozenset(),
) -> Delivery:
    """The visible messages that are not held, in order and within the limits."""
    fitting = [row for row in rows if not validity.voids(row)]
    visible = sorted(
        (row for row in fitting if _is_visible(row, now)), key=lambda row: row.text("ord")
    )
    chosen, more = first_page((row for row in visible if _id_of(row) not in held), size_of)
    payloads = await read_payloads(table, chosen)
    messages = tuple(
        _message(instance, row, data) for row, data in zip(chosen, payloads, strict=True)
    )
    return Delivery(
        messages=messages,
        more=more,
        chunks={_id_of(row): keys for row in chosen if (keys := chunks_of(row))},
        visible_since=min((int(row.text("gsk")[1:21]) for row in visible), default=None),
        waiting=tuple(row for row in fitting if message_items.is_waiting(row)),
        void=tuple(row for row in rows if validity.outlived(row)),
    )


def _is_visible(row: Row, now: Instant) -> bool:
    due = row.number_or_none("due")
    return due is None or due <= now


def _id_of(row: Row) -> str:
    return row.text("sk")[2:]


def _message(instance: str, row: Row, data: bytes) -> Message:
    return Message(
        id=_id_of(row),
        instance=instance,
        kind=MessageKind(row.text("kin")),
        data=data,
        incarnation=row.text_or_none("inc"),
        execution=row.number_or_none("exe"),
        visible_at=row.number_or_none("due"),
    )
