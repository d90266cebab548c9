"""Messages as items, and the reading of a mailbox.

A message's key is its id, so a second one of the same id meets the first; its place in the
mailbox is the attribute `ord`, by which a reader sorts. Reading is one
strongly consistent query, so that nothing that was acknowledged is ever missed.

Attributes: `kin` kind, `dat` payload, `inc`, `exe` what it addresses, `due` visible-at, `arr` stamp of
its arrival, `ord`, `lif` the life of the instance that its sender saw (see `lives`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from perdure.clock import Instant
from perdure.contract import (
    CANCEL_ID,
    Message,
    MessageKind,
    first_page,
)

from perdure_dynamodb._keys import (
    MAILBOX,
    START_ORDER,
    TIMERS,
    due_at,
    is_timer_key,
    later_order,
    message_key,
    open_since,
    usual_order,
)
from perdure_dynamodb._lives import Life
from perdure_dynamodb._locks import Validity
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import (
    LOOSE,
    ChunkBuffer,
    chunks_of,
    read_payloads,
    size_of,
    transient,
)
from perdure_dynamodb._table import Key, Select, Table
from perdure_dynamodb._values import Item, Plain, Row


def message_item(
    namespace: Namespace,
    message: Message,
    buffer: ChunkBuffer,
    *,
    order: str | None = None,
    life: Life | None = None,
) -> Item:
    """The item, without a place in a queue; `order` for messages to the front.

    `life` is that of the instance, where it is known already; it stamps the message when it is put.
    """
    kind = LOOSE if life is None else transient(life)
    arrival = namespace.arrivals.next()
    partition = namespace.keys.partition(message.instance)
    due = arrival.stamp if message.visible_at is None else message.visible_at
    item: Item = {
        "pk": partition,
        "sk": message_key(message.id),
        "kin": message.kind.value,
        "ord": _order(message, order or usual_order(due, arrival.stamp, arrival.text)),
        "arr": arrival.stamp,
        **buffer.place(partition, message.data, kind=kind),
    }
    if message.incarnation is not None:
        item["inc"] = message.incarnation
    if message.execution is not None:
        item["exe"] = message.execution
    if message.visible_at is not None:
        item["due"] = message.visible_at
    return item


def arrival_of(item: Mapping[str, Plain]) -> Instant:
    """The stamp of a message's arrival."""
    stamp = item.get("arr")
    # Version 0.1.0 told it by the place in the queue alone.
    return stamp if isinstance(stamp, int) else int(str(item["gsk"])[1:21])


def behind(item: Item, newest: Instant) -> Item:
    """A message without a due time, behind all that arrived before, whatever the clock said."""
    if "due" in item or arrival_of(item) >= newest or not str(item["ord"]).startswith("2#"):
        return item
    return {**item, "ord": later_order(str(item["ord"]), newest), "arr": newest}


def early(namespace: Namespace, item: Item, instance: str) -> Item:
    """The item of an event whose instance does not exist: apart from the queue of turns."""
    due, arrival = item.get("due"), str(item["ord"]).rpartition(".")[2]
    place = due_at(due, arrival) if isinstance(due, int) else open_since(arrival_of(item), arrival)
    shard = namespace.shards.of(instance)
    return {**item, "gpk": namespace.keys.waiting(shard), "gsk": place}


def is_early(namespace: Namespace, row: Row) -> bool:
    """Whether the row is that of an event that came before its instance."""
    queue = row.text_or_none("gpk")
    return queue is not None and queue.startswith(f"{namespace.keys.prefix}V#")


def _order(message: Message, order: str) -> str:
    return START_ORDER if message.kind is MessageKind.START else order


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a mailbox holds for the holder of the lease."""

    messages: tuple[Message, ...]
    more: bool
    chunks: dict[str, tuple[Key, ...]]
    """By message id, where the payload is in chunks."""
    visible_since: Instant | None
    """About when the earliest visible message became visible."""
    next_due: Instant | None
    """When the next of those that are not visible yet is due."""
    timers: int
    """How many of these stand among the timers."""
    early: tuple[Row, ...]
    """Events that came before the instance and are due later: they stand in no queue yet."""
    void: tuple[Row, ...]
    """What may be removed."""


async def read_mailbox(
    table: Table, partition: str, *, timers: bool = True, consistent: bool = True
) -> list[Row]:
    """All messages of a mailbox, or all but those among the timers, in no particular order."""
    ranges = [MAILBOX] if timers else [(MAILBOX[0], TIMERS[0]), (TIMERS[1], MAILBOX[1])]
    found: list[Row] = []
    for first, last in ranges:
        select = Select(partition=partition, first=first, last=last, consistent=consistent)
        found += [row async for row in table.query_all(select)]
    return found


async def deliver(
    namespace: Namespace,
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
        (row for row in fitting if is_visible(row, now)), key=lambda row: row.text("ord")
    )
    later = [row for row in fitting if not is_visible(row, now)]
    free = [row for row in visible if _id_of(row) not in held]
    chosen, more = first_page(free, size_of)
    # The place of a cancellation may be behind thousands of others (MAIL-16).
    chosen += [row for row in free[len(chosen) :] if _is_cancellation(row)]
    payloads = await read_payloads(namespace.table, chosen)
    messages = tuple(
        _message(instance, row, data) for row, data in zip(chosen, payloads, strict=True)
    )
    return Delivery(
        messages=messages,
        more=more,
        chunks={_id_of(row): keys for row in chosen if (keys := chunks_of(row))},
        visible_since=min(map(visible_since, visible), default=None),
        next_due=min((row.number("due") for row in later), default=None),
        timers=sum(is_timer_key(row.text("sk")) for row in later),
        early=tuple(row for row in later if is_early(namespace, row)),
        void=tuple(row for row in rows if validity.outlived(row) or validity.is_foreign(row)),
    )


def is_visible(row: Row, now: Instant) -> bool:
    """Whether the time of a message has come."""
    due = row.number_or_none("due")
    return due is None or due <= now


def _is_cancellation(row: Row) -> bool:
    return _id_of(row) == CANCEL_ID and row.text("kin") == MessageKind.CANCEL


def visible_since(row: Row) -> Instant:
    due = row.number_or_none("due")
    return arrival_of(row) if due is None else due


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
