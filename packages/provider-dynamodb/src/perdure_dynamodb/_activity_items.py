"""Activities as items, and their places in the queue.

An activity is one item, which carries its own lease; its place in the index says when it can next be
taken, so one whose lease ran out appears there by itself.

Attributes: `nam` name, `tag`, `dat` payload, `inc`, `exe`, `due` visible-at, `rdy` since when it
waits, `ado` when it was added, `tok`/`unt` lease, `tkf` token of the lease that was taken over
last, `hid` end of a delay, `dlv` delivery.
"""

from __future__ import annotations

from collections.abc import Mapping

from perdure.clock import Instant, to_microseconds
from perdure.contract import ActivityLease, NewActivity, TurnCommit

from perdure_dynamodb._activity_memory import WANTED
from perdure_dynamodb._keys import activity_key, due_at, leased_until, open_since, work_prefix
from perdure_dynamodb._lives import Life
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, transient
from perdure_dynamodb._table import Action, Delete, Key
from perdure_dynamodb._values import Item, Plain, Row


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


def finishing(namespace: Namespace, commit: TurnCommit) -> list[Action]:
    """The deletions that are preconditions of a commit."""
    return [
        Delete(
            key=key_of_work(namespace, lease),
            condition=WANTED,
            values={":token": lease.token, ":inc": commit.incarnation, ":exe": commit.execution},
        )
        for lease in commit.finish
    ]


def key_of_work(namespace: Namespace, lease: ActivityLease) -> Key:
    """The key of the activity of a lease."""
    return (namespace.keys.partition(lease.instance), activity_key(lease.activity))


def row_key(row: Row) -> Key:
    """The key of an item."""
    return (row.text("pk"), row.text("sk"))
