"""One text for values without an order: the items of a set are ordered by their texts.

A set iterates in an order that depends on the hash seed of the process. A serializer keeps that
order, so a value and its JSON can be walked side by side. A part that a serializer of the user has
changed into something else stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import cast

from pydantic_core import from_json, to_json

from perdure.encoding.round_trip import field_names


def in_order(value: object, data: bytes) -> bytes:
    """The JSON text of a value, with the items of sets ordered by their texts."""
    return to_json(_ordered(value, from_json(data)), inf_nan_mode="constants")


def _ordered(value: object, json: object) -> object:
    if getattr(type(value), "__pydantic_root_model__", False):
        return _ordered(getattr(value, "root", None), json)
    if isinstance(json, list):
        return _ordered_items(value, cast("list[object]", json))
    if isinstance(json, dict):
        return _ordered_entries(value, cast("dict[str, object]", json))
    return json


def _ordered_items(value: object, json: list[object]) -> list[object]:
    if not isinstance(value, list | tuple | deque | set | frozenset):
        return json
    items = cast("Collection[object]", value)
    if len(items) != len(json):
        return json
    ordered = [_ordered(item, inner) for item, inner in zip(items, json, strict=True)]
    return sorted(ordered, key=to_json) if isinstance(value, set | frozenset) else ordered


def _ordered_entries(value: object, json: dict[str, object]) -> dict[str, object]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        if len(entries) != len(json):
            return json
        pairs = zip(json.items(), entries.values(), strict=True)
        return {key: _ordered(item, inner) for (key, inner), item in pairs}
    return {key: _ordered(_field(value, key), inner) for key, inner in json.items()}


def _field(value: object, key: str) -> object:
    """The field for a key, which is its name or its alias."""
    kind = type(value)
    names = field_names(kind) or ()
    if key in names:
        return getattr(value, key, None)
    fields = cast("Mapping[str, object]", getattr(kind, "__pydantic_fields__", {}))
    for name, field in fields.items():
        if key in (getattr(field, "serialization_alias", None), getattr(field, "alias", None)):
            return getattr(value, name, None)
    extra = cast("Mapping[str, object]", getattr(value, "__pydantic_extra__", None) or {})
    return extra.get(key)
