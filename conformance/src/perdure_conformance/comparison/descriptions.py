"""Records as short text, without fields that have their default."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import Enum


def described(value: object) -> str:
    """The value as short text."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [
            f"{each.name}={described(getattr(value, each.name))}"
            for each in fields(value)
            if not _is_default(each, getattr(value, each.name))
        ]
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(map(described, _in_order(value)))}]"  # pyright: ignore[reportUnknownArgumentType] # of anything
    return repr(value)


def _is_default(field: Field[object], value: object) -> bool:
    if field.default_factory is not MISSING:
        return field.default_factory() == value
    return field.default is not MISSING and field.default == value


def _in_order(
    values: tuple[object, ...] | list[object] | frozenset[object],
) -> tuple[object, ...] | list[object]:
    return sorted(values, key=repr) if isinstance(values, frozenset) else values
