"""Compares a value with what its text decodes to, part by part.

Equality alone is not enough: NaN equals nothing, a class may leave a field out of it or not define
it, and two time zones never agree on an hour that occurs twice. Models and dataclasses are therefore
compared by their fields, and objects without `__eq__` by their state, and types must be the same.
Only the base of a plain type may replace it if both are equal (a `str` for a `StrEnum`, a `float`
for an `int`), because the annotation promises no more.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, cast
from uuid import UUID

from perdure.encoding.differences import (
    DoesNotRoundTrip,
    Path,
    Step,
    entries_differ,
    explain,
    instant,
    not_in_init,
)
from perdure.encoding.untyped_parts import UntypedPart

_BASES = (
    *(str, int, float, bytes, dict, list, tuple, set, frozenset),
    *(date, datetime, time, timedelta, Decimal, UUID),
)
"""Plain types, which may replace their subclasses."""

_MISSING = object()
_Entries: TypeAlias = Mapping[object, object]
_Items: TypeAlias = Collection[object]


class Comparison:
    """One comparison; raises `DoesNotRoundTrip` at the first difference.

    `check_reading` checks the parts that the annotation leaves untyped, `left_out` names the fields
    that the author of a class excludes.
    """

    __slots__ = ("_check_reading", "_left_out")

    def __init__(
        self,
        check_reading: Callable[[object, Path], bool],
        left_out: Callable[[type], frozenset[str]],
    ) -> None:
        self._check_reading = check_reading
        self._left_out = left_out

    def same(self, value: object, back: object, place: UntypedPart | None, path: Path) -> None:
        """Compare a value with the decoded one; `place` is the untyped part of the annotation, if any."""
        if place is not None and place.untyped:
            self._check_reading(value, path)
            return
        kind, base = type(value), type(back)
        if kind is not base and not _may_stand_for(base, value):
            raise explain(path, value, back)
        if base is datetime:
            _same_instant(cast("datetime", value), cast("datetime", back), path)
        elif issubclass(base, dict):
            self._same_entries(cast("_Entries", value), cast("_Entries", back), place, path)
        elif issubclass(base, list | tuple | deque):
            self._same_items(cast("_Items", value), cast("_Items", back), place, path)
        elif issubclass(base, set | frozenset):
            self._same_members(cast("_Items", value), cast("_Items", back), place, path)
        elif base in _BASES or not self._same_fields(value, back, place, path):
            self._same_object(value, back, path)

    def _same_entries(
        self, value: _Entries, back: _Entries, place: UntypedPart | None, path: Path
    ) -> None:
        if len(value) != len(back):
            raise entries_differ(path, value, back)
        untyped_keys = place is not None and place.has_untyped_keys()
        if untyped_keys:
            self._check_reading(dict.fromkeys(value), path)
        for (key, item), by_order in zip(value.items(), back.values(), strict=True):
            other = by_order if untyped_keys else back.get(key, _MISSING)
            if other is _MISSING:
                raise entries_differ(path, value, back)
            inner = None if place is None else place.entry(key)
            self.same(item, other, inner, Step(path, str(key)))

    def _same_items(
        self, value: _Items, back: _Items, place: UntypedPart | None, path: Path
    ) -> None:
        if len(value) != len(back):
            raise explain(path, value, back)
        inner = None if place is None else place.items()
        for index, (item, other) in enumerate(zip(value, back, strict=True)):
            self.same(item, other, inner, Step(path, index))

    def _same_members(
        self, value: _Items, back: _Items, place: UntypedPart | None, path: Path
    ) -> None:
        if place is not None and place.items().untyped:
            self._check_reading(value, path)
        elif value != back:
            raise explain(path, value, back)

    def _same_fields(self, value: Any, back: Any, place: UntypedPart | None, path: Path) -> bool:
        """Compare the fields of a model or a dataclass; returns False for any other object."""
        kind = type(cast("object", value))
        names = field_names(kind)
        if names is None:
            return False
        left_out = self._left_out(kind)
        for name in names:
            if name in left_out:
                continue
            inner = None if place is None else place.field(name)
            self._same_field(value, back, name, inner, Step(path, name))
        extra = cast("_Entries", getattr(value, "__pydantic_extra__", None) or {})
        extra_back = cast("_Entries", getattr(back, "__pydantic_extra__", None) or {})
        if len(extra) != len(extra_back):
            raise entries_differ(path, extra, extra_back)
        for name, item in extra.items():
            inner = None if place is None else place.extras()
            self.same(item, extra_back.get(name, _MISSING), inner, Step(path, str(name)))
        return True

    def _same_field(
        self, value: object, back: object, name: str, place: UntypedPart | None, path: Path
    ) -> None:
        ours, theirs = getattr(value, name, _MISSING), getattr(back, name, _MISSING)
        if ours is theirs:
            return
        try:
            self.same(ours, theirs, place, path)
        except DoesNotRoundTrip:
            fields = cast("Mapping[str, Any]", getattr(value, "__dataclass_fields__", {}))
            if name in fields and not fields[name].init:
                raise not_in_init(path) from None
            raise

    def _same_object(self, value: object, back: object, path: Path) -> None:
        if value is back:
            return
        if type(value).__eq__ is object.__eq__:
            self._same_entries(_state(value), _state(back), None, path)
        elif not _equal(value, back):
            raise explain(path, value, back)


def field_names(kind: type) -> tuple[str, ...] | None:
    """The fields of a model or a dataclass, in their order; None for any other class."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(cast("Any", kind)))
    fields = cast(
        "Mapping[str, object] | None", getattr(cast("object", kind), "__pydantic_fields__", None)
    )
    return None if fields is None else tuple(fields)


def _may_stand_for(base: type, value: object) -> bool:
    """Whether a value of this base type may replace the value."""
    if base is float:
        return isinstance(value, int | float)
    return base in _BASES and isinstance(value, base)


def _same_instant(value: datetime, back: datetime, path: Path) -> None:
    same_offset = value.utcoffset() == back.utcoffset()
    if not same_offset or value.replace(tzinfo=None) != back.replace(tzinfo=None):
        raise instant(path)


def _equal(value: object, back: object) -> bool:
    if value != value and back != back:  # NaN, which equals nothing
        return type(value) is float
    return value == back


def _state(value: object) -> _Entries:
    """The attributes of an object, including those in slots."""
    state: dict[object, object] = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = cast("str | Iterable[str]", kind.__dict__.get("__slots__", ()))
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                state[name] = getattr(value, name)
    return state
