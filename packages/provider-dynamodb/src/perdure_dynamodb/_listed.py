"""The items by which listings find an instance, each with an entry in the index.

There is one for its status, one for each of its labels, one for having continued as new, and one for
being parked. Each entry stands at the same place, which is the time of the creation and the id, so
whatever an entry is found by, pages of a listing are in one order. A child also has a link in the
partition of its parent, which needs no index.
"""

from __future__ import annotations

from perdure.clock import Instant
from perdure.contract import InstanceStatus, NewInstance

from perdure_dynamodb._keys import CONTINUED, LISTING, PARKED, child_key, label_key
from perdure_dynamodb._lives import LIFE
from perdure_dynamodb._locks import RUNNING, Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import Key
from perdure_dynamodb._values import Item

_CHILD = "child"


def status_item(
    namespace: Namespace,
    instance: str,
    status: str,
    *,
    created: Instant,
    name: str,
    is_child: bool,
    events: int = 0,
) -> Item:
    """The item under which an instance of a status is listed.

    The index tells its orchestration, and whether it is a child, so that a listing passes over most
    of what it does not want.
    """
    item: Item = {
        **_entry(namespace, instance, LISTING, created),
        "gpk": namespace.keys.listing(status, namespace.shards.of(instance)),
        "tev": events,
        "nam": name,
    }
    return {**item, "tag": _CHILD} if is_child else item


def status_item_of(namespace: Namespace, lock: Lock, status: str, *, events: int = 0) -> Item:
    """The same for an instance that exists."""
    return status_item(
        namespace,
        lock.instance,
        status,
        created=lock.created,
        name=lock.name,
        is_child=lock.parent is not None,
        events=events,
    )


def continued_item(namespace: Namespace, instance: str, created: Instant) -> Item:
    """The item under which an instance is listed that ever continued as new."""
    status = InstanceStatus.CONTINUED_AS_NEW.value
    return {
        **_entry(namespace, instance, CONTINUED, created),
        "gpk": namespace.keys.listing(status, namespace.shards.of(instance)),
        "tev": 0,
    }


def parked_item(namespace: Namespace, lock: Lock) -> Item:
    """The item under which an instance is listed that may be parked."""
    return {
        **_entry(namespace, lock.instance, PARKED, lock.created),
        "gpk": namespace.keys.parked(namespace.shards.of(lock.instance)),
        "inc": lock.incarnation,
        LIFE: lock.life.text,
    }


def new_items(namespace: Namespace, new: NewInstance, *, created: Instant) -> list[Item]:
    """The items of an instance that is about to be created."""
    items = [
        status_item(
            namespace,
            new.instance,
            RUNNING,
            created=created,
            name=new.name,
            is_child=new.parent is not None,
        )
    ]
    for number, (key, value) in enumerate(sorted(new.labels.items())):
        shard = namespace.shards.of(new.instance)
        entry = _entry(namespace, new.instance, label_key(number), created)
        items.append({**entry, "gpk": namespace.keys.labelled(key, value, shard)})
    if new.parent is not None:
        place = namespace.keys.listed(created, new.instance)
        partition = namespace.keys.partition(new.parent.instance)
        items.append({"pk": partition, "sk": child_key(place)})
    return items


def lasting_keys(namespace: Namespace, lock: Lock) -> list[Key]:
    """The keys of the items that an instance has from its creation on, but for its status."""
    partition = lock.row.text("pk")
    keys = [(partition, label_key(number)) for number in range(len(lock.labels))]
    # Version 0.1.0 kept no links.
    if lock.parent is not None and lock.life.tag:
        place = namespace.keys.listed(lock.created, lock.instance)
        keys.append((namespace.keys.partition(lock.parent), child_key(place)))
    return keys


def _entry(namespace: Namespace, instance: str, sort: str, created: Instant) -> Item:
    return {
        "pk": namespace.keys.partition(instance),
        "sk": sort,
        "gsk": namespace.keys.listed(created, instance),
    }
