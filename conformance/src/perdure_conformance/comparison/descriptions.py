"""Records as short text, without fields that have their default or the value that callers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import cast

from perdure_conformance.comparison.callers import LEASE, LIMIT, SERVES

USUAL: Mapping[str, object] = {
    "limit": LIMIT,
    "lease_for": LEASE,
    "serves": SERVES,
    "activity_lease_for": LEASE,
}
"""What all calls have alike."""


def contrasted(found: object, wanted: object) -> str:
    """Two answers, without what sets have in common."""
    left_out, answers = "", (found, wanted)
    if isinstance(found, frozenset) and isinstance(wanted, frozenset):
        one, other = cast("frozenset[object]", found), cast("frozenset[object]", wanted)
        left_out, answers = "apart from what is alike, ", (one - other, other - one)
    ours, theirs = map(described, answers)
    return f"{left_out}the provider answered\n  {ours}\nand the model\n  {theirs}"


def described(value: object) -> str:
    """The value as short text."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [
            f"{each.name}={described(getattr(value, each.name))}"
            for each in fields(value)
            if not _is_usual(each, getattr(value, each.name))
        ]
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(map(described, _in_order(value)))}]"  # pyright: ignore[reportUnknownArgumentType] # of anything
    return repr(value)


def _is_usual(field: Field[object], value: object) -> bool:
    if field.name in USUAL and USUAL[field.name] == value:
        return True
    if field.default_factory is not MISSING:
        return field.default_factory() == value
    return field.default is not MISSING and field.default == value


def _in_order(
    values: tuple[object, ...] | list[object] | frozenset[object],
) -> tuple[object, ...] | list[object]:
    return sorted(values, key=repr) if isinstance(values, frozenset) else values
