"""Activities as items, and their places in the queue.

An activity is one item, which carries its own lease; its place in the index says when it can next be
taken, so one whose lease ran out appears there by itself.

An instance has one slot for an activity that is added leased, and the lock item tells which activity
is in there (`slt`). A commit that finishes the one in the slot puts the next one over it, and leaves
its place in the index if that still does. So a step after a step writes one item where two would be
put and removed. An activity stays where it was put for as long as there is one of its id.

Attributes: `nam` name, `tag`, `dat` payload, `inc`, `exe`, `lif` the life that added it (see `lives`),
`due` visible-at, `rdy` since when it waits, `ado` when it was added, `tok`/`unt` lease, `tkf` token of
the lease that was taken over last, `hid` end of a delay, `dlv` delivery, `aid` id, of the one in the
slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perdure.clock import Instant, to_microseconds
from perdure.contract import ActivityLease, NewActivity, TurnCommit

from perdure_dynamodb._activity_memory import ActivityMemory
from perdure_dynamodb._keys import (
    SLOT,
    activity_key,
    due_at,
    is_leased,
    leased_until,
    open_since,
    prefix_of,
    ready_time,
    work_prefix,
)
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import LEASE_STANDS, Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, transient
from perdure_dynamodb._table import Action, Delete, Key
from perdure_dynamodb._values import Item, Plain, Row

OF_LIFE = f"(attribute_not_exists({LIFE}) OR {LIFE} = :life)"
"""The condition that an activity is of the life `:life`; those of version 0.1.0 don't tell."""


def activity_item(
    namespace: Namespace,
    new: NewActivity,
    commit: TurnCommit,
    buffer: ChunkBuffer,
    *,
    life: Life,
    now: Instant,
) -> Item:
    """The item of an activity that a commit adds."""
    partition = namespace.keys.partition(commit.instance)
    since = now if new.visible_at is None else new.visible_at
    item: Item = {
        "pk": partition,
        "sk": activity_key(new.id),
        "inc": commit.incarnation,
        "exe": commit.execution,
        LIFE: life.text,
        "nam": new.name,
        "ado": now,
        "rdy": since,
        "dlv": 0,
        "gpk": namespace.work_queue(commit.instance),
        **buffer.place(partition, new.data, kind=transient(life)),
    }
    if new.tag is not None:
        item["tag"] = new.tag
    if new.visible_at is not None:
        item["due"] = new.visible_at
    if new.lease and commit.activity_token is not None and commit.activity_lease_for:
        until = now + to_microseconds(commit.activity_lease_for)
        item |= {"tok": commit.activity_token, "unt": until, "dlv": 1}
        item["gsk"] = prefix_of_work(item) + leased_until(until, since=since)
    else:
        item["gsk"] = free_place(namespace, item, now)
    return item


def in_slot(item: Item, activity: str, *, place: str | None) -> Item:
    """The item of a leased activity in the slot, whose place in the index is left if it still does.

    It does if it is among those of the same code, and is looked at between half of the lease's length
    and its end, so that the next renewal comes before.
    """
    item = {**item, "sk": SLOT, "aid": activity}
    if place is not None and is_leased(place) and prefix_of(place) == prefix_of(str(item["gsk"])):
        now, until = Row(item).number("ado"), Row(item).number("unt")
        if now + (until - now) // 2 <= ready_time(place) <= until:
            item["gsk"] = place
    return item


def free_place(namespace: Namespace, item: Mapping[str, Plain], since: Instant) -> str:
    """The place of an activity that has no lease, as far as its time has come."""
    due, arrival = item.get("due"), namespace.arrivals.next().text
    if isinstance(due, int) and due > since:
        return prefix_of_work(item) + due_at(due, arrival)
    return prefix_of_work(item) + open_since(since, arrival)


def prefix_of_work(item: Mapping[str, Plain]) -> str:
    """The prefix of an activity's places."""
    tag = item.get("tag")
    return work_prefix(str(item["nam"]), None if tag is None else str(tag))


def finishing(
    namespace: Namespace,
    commit: TurnCommit,
    *,
    life: Life,
    slot: str | None,
    but: Key | None = None,
) -> list[Action]:
    """The deletions that are preconditions of a commit; `slot` is the activity in the slot."""
    keys = {lease: key_of_work(namespace, lease, slot=slot) for lease in commit.finish}
    return [
        Delete(
            key=key,
            condition=wanted(key),
            values=wanted_values(lease, key, commit.incarnation, commit.execution, life),
        )
        for lease, key in keys.items()
        if key != but
    ]


def wanted(key: Key) -> str:
    """The condition that a lease stands, and that it is still the activity of this execution."""
    whose = " AND aid = :activity" if key[1] == SLOT else ""
    return f"{LEASE_STANDS} AND inc = :inc AND exe = :exe AND {OF_LIFE}{whose}"


def wanted_values(
    lease: ActivityLease, key: Key, incarnation: str, execution: int, life: Life
) -> dict[str, Plain]:
    """The values of `wanted`."""
    whose: dict[str, Plain] = {":activity": lease.activity} if key[1] == SLOT else {}
    return {
        ":token": lease.token,
        ":inc": incarnation,
        ":exe": execution,
        ":life": life.text,
        **whose,
    }


def slot_key(namespace: Namespace, instance: str) -> Key:
    """The key of the slot of an instance."""
    return (namespace.keys.partition(instance), SLOT)


def key_of_work(namespace: Namespace, lease: ActivityLease, *, slot: str | None) -> Key:
    """The key of the activity of a lease, where the lock item tells this slot."""
    if lease.activity == slot:
        return slot_key(namespace, lease.instance)
    return (namespace.keys.partition(lease.instance), activity_key(lease.activity))


def row_key(row: Row) -> Key:
    """The key of an item."""
    return (row.text("pk"), row.text("sk"))


def id_of(row: Row, lock: Lock | None = None) -> str:
    """The id of an activity, by its item, or by its row in the index and the lock item."""
    if row.text("sk") != SLOT:
        return row.text("sk")[2:]
    return row.text("aid") if lock is None else lock.slot or ""


@dataclass(frozen=True, slots=True)
class LeasedRows:
    """Reads the items of leased activities, wherever they are."""

    namespace: Namespace
    memory: ActivityMemory

    def key(self, lease: ActivityLease) -> Key | None:
        """Where the activity is, as far as this process knows."""
        own, slot = self._keys(lease)
        in_slot = self.memory.get(slot)
        if in_slot is not None and in_slot.id == lease.activity:
            return slot
        return None if self.memory.get(own) is None else own

    async def read(self, leases: Sequence[ActivityLease]) -> dict[ActivityLease, Row]:
        """The items of those that exist."""
        keys = {
            lease: self._keys(lease) if (key := self.key(lease)) is None else (key,)
            for lease in leases
        }
        rows = await self.namespace.table.get_many(key for each in keys.values() for key in each)
        return {
            lease: row
            for lease, each in keys.items()
            for key in each
            if (row := rows.get(key)) is not None and id_of(row) == lease.activity
        }

    def _keys(self, lease: ActivityLease) -> tuple[Key, Key]:
        own = key_of_work(self.namespace, lease, slot=None)
        return own, slot_key(self.namespace, lease.instance)
