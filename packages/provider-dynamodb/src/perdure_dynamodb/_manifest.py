"""The manifest of a staged commit: its changes as bytes, in batches of one transaction each."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from perdure.errors import StorageCorrupt

from perdure_dynamodb._change_kinds import Change, Create, Post, Remove, Replace
from perdure_dynamodb._values import Item, Plain

BATCH_WEIGHT = 95
"""One transaction may have 100 actions; the fence takes one."""

Batch: TypeAlias = Sequence[Change]
_Json: TypeAlias = "str | int | list[_Json] | dict[str, _Json] | None"


def in_batches(changes: Iterable[Change]) -> list[Batch]:
    """The changes, in their order, as many together as a transaction takes."""
    batches: list[list[Change]] = [[]]
    weight = 0
    for change in changes:
        if batches[-1] and weight + change.weight > BATCH_WEIGHT:
            batches.append([])
            weight = 0
        batches[-1].append(change)
        weight += change.weight
    return cast("list[Batch]", batches)


def dump(batches: Sequence[Batch]) -> bytes:
    """The batches as bytes."""
    plain = [[_dump_change(change) for change in batch] for batch in batches]
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 1)


def load(data: bytes) -> list[Batch]:
    """The batches that `dump` was given."""
    try:
        plain = json.loads(zlib.decompress(data))
    except (ValueError, zlib.error) as error:
        raise StorageCorrupt(
            f"a staged commit cannot be read ({error}); it was damaged", operation="finish"
        ) from error
    return [[_load_change(change) for change in batch] for batch in plain]


def _dump_change(change: Change) -> dict[str, _Json]:
    match change:
        case Replace(item=item):
            return {"put": _dump_item(item)}
        case Remove(key=(partition, sort)):
            return {"remove": [partition, sort]}
        case Post(instance=instance, item=item):
            return {"post": _dump_item(item), "to": instance}
        case Create():
            other = change.if_exists
            return {
                "create": change.instance,
                "lock": _dump_item(change.lock),
                "items": [_dump_item(item) for item in change.items],
                "else": None if other is None else _dump_change(other),
            }


def _load_change(plain: Mapping[str, _Json]) -> Change:
    row = cast("Mapping[str, dict[str, _Json]]", plain)
    if "put" in plain:
        return Replace(item=_load_item(row["put"]))
    if "remove" in plain:
        partition, sort = cast("list[str]", plain["remove"])
        return Remove(key=(partition, sort))
    if "post" in plain:
        return Post(instance=cast("str", plain["to"]), item=_load_item(row["post"]))
    other = plain["else"]
    # Version 0.1.0 named each of the items.
    items = cast("list[dict[str, _Json]]", plain.get("items") or [plain["start"], plain["listing"]])
    return Create(
        instance=cast("str", plain["create"]),
        lock=_load_item(row["lock"]),
        items=tuple(map(_load_item, items)),
        if_exists=cast("Post", _load_change(row["else"])) if other is not None else None,
    )


def _dump_item(item: Item) -> dict[str, _Json]:
    return {name: _dump_value(value) for name, value in item.items()}


def _dump_value(value: Plain) -> _Json:
    match value:
        case bytes():
            # A list stands for bytes: lists of other things are in no item that is staged.
            return [base64.b64encode(value).decode()]
        case dict():
            return {name: _dump_value(each) for name, each in value.items()}
        case list():
            raise TypeError(f"{value!r} cannot be staged")
        case _:
            return value


def _load_item(plain: Mapping[str, _Json]) -> Item:
    return {name: _load_value(value) for name, value in plain.items()}


def _load_value(value: _Json) -> Plain:
    match value:
        case [str() as encoded]:
            return base64.b64decode(encoded)
        case dict():
            return _load_item(value)
        case str() | int():
            return value
        case _:
            raise StorageCorrupt(
                f"a staged commit holds {value!r}, which is no value; it was damaged",
                operation="finish",
            )
