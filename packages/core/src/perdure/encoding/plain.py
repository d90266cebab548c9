"""Plain types, whose values are known to round-trip.

A type is plain if its pydantic schema holds only exact scalars, lists, tuples, sets, dictionaries,
and models and dataclasses of such fields: no serializer, no validator, no setting that changes a
value, and no excluded field. A value that is exactly of such a type round-trips, so its text need
not be checked. If the schema also has constraints, which refuse values and never change them, the
text only needs to decode.

Each type is analysed once. A schema or value that this module does not know is not plain, and is
compared with its decoded text. A new version of pydantic can therefore make encoding slower, but not
wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from operator import attrgetter
from types import NoneType
from typing import Any, cast
from uuid import UUID

from perdure.encoding.untyped_parts import Schema, definitions_of, fields_of

_MOST_DIGITS = 4300
"""The most digits of an integer that JSON readers and Python accept."""

_MOST_BITS = 14_000
"""Bits of an integer that surely has fewer digits than that."""

_ALL_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * (_MOST_DIGITS + 1)

_DEEPEST = 100
"""The depth up to which a value without an annotation is plain, since readers have a limit."""

Check = Callable[[Any], bool]


class Plain:
    """Checks whether values are exactly of a plain type."""

    __slots__ = ("is_one", "kinds")

    def __init__(self, kinds: Iterable[type], is_one: Check | None = None) -> None:
        self.kinds = frozenset(kinds)
        """The exact types that a value may have."""
        self.is_one = is_one
        """A further condition; None if the type is enough."""

    def one(self, value: Any) -> bool:
        """Whether this value is of the type."""
        return type(value) in self.kinds and (self.is_one is None or self.is_one(value))

    def each(self, values: Iterable[Any]) -> bool:
        """Whether all of these values are; iterates them twice."""
        return self.kinds.issuperset(map(type, values)) and (
            self.is_one is None or all(map(self.is_one, values))
        )


class PlainType:
    """A plain type: its values, and what their text needs beyond that."""

    __slots__ = ("has_conditions", "values")

    def __init__(self, schema: Schema) -> None:
        """Analyse a schema; raises `NotPlain` for any other type."""
        analysis = _Analysis(definitions_of(schema))
        self.values = analysis.of(schema)
        self.has_conditions = analysis.has_conditions
        """Whether a value of the type may be refused when it is decoded, by a constraint."""


class NotPlain(Exception):
    """A part of a schema is not plain, or not known."""


def may_hold_a_long_integer(data: bytes) -> bool:
    """Whether JSON text may hold an integer with more digits than readers accept."""
    return len(data) > _MOST_DIGITS and _TOO_MANY_DIGITS in data.translate(_ALL_DIGITS_ALIKE)


def is_plain_json(value: object, depth: int = 0) -> bool:
    """Whether a value without an annotation is exactly what its JSON text decodes to."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return cast("int", value).bit_length() <= _MOST_BITS
    if kind is float:
        return math.isfinite(cast("float", value))
    if depth == _DEEPEST:
        return False
    if kind is dict:
        entries = cast("dict[object, object]", value)
        return _are_texts(entries) and _are_plain_json(entries.values(), depth + 1)
    return kind is list and _are_plain_json(cast("list[object]", value), depth + 1)


def _are_plain_json(values: Collection[object], depth: int) -> bool:
    if _SIMPLE.issuperset(map(type, values)):
        return True
    for value in values:  # noqa: SIM110 # faster than all()
        if not is_plain_json(value, depth):
            return False
    return True


_SIMPLE = frozenset({str, bool, NoneType})


def _are_texts(keys: Collection[Any]) -> bool:
    """Whether all are exact strings without surrogates, which pydantic would replace in keys."""
    if not _TEXT.issuperset(map(type, keys)):
        return False
    if all(map(str.isascii, keys)):
        return True
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        return False
    return True


_TEXT = frozenset({str})


def _is_plain_instant(value: datetime) -> bool:
    # The text has only whole minutes in an offset, and a zone may have seconds.
    return value.tzinfo is None or value.tzinfo is UTC


_SCALARS: Mapping[str, Plain] = {
    "str": Plain([str]),
    "bytes": Plain([bytes]),
    "bool": Plain([bool]),
    "int": Plain([int]),
    "float": Plain([float], math.isfinite),
    "decimal": Plain([Decimal], Decimal.is_finite),
    "none": Plain([NoneType]),
    "uuid": Plain([UUID]),
    "date": Plain([date]),
    "datetime": Plain([datetime], _is_plain_instant),
    "timedelta": Plain([timedelta]),
}
_TOLD_APART = frozenset({"str", "bool", "int", "none"})
"""Scalars that JSON tells apart, so that a union of them is plain."""

_KEYS: Mapping[str, Callable[[Collection[Any]], bool]] = {
    "str": _are_texts,
    "int": _SCALARS["int"].each,
    "uuid": _SCALARS["uuid"].each,
    "date": _SCALARS["date"].each,
}

_ALWAYS = frozenset({"type", "ref", "metadata"})
_WRAPPER = _ALWAYS | {"schema"}
_CONDITIONS = frozenset(
    {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "strict"}
)
_SCALAR = _ALWAYS | {"microseconds_precision"}
_DEFAULT = _WRAPPER | {"default", "default_factory", "default_factory_takes_data", "copy_default"}
_FIELD = _WRAPPER | {"name", "frozen", "kw_only", "init", "validation_alias", "serialization_alias"}
_MODEL = _WRAPPER | {"cls", "custom_init", "root_model", "config", "generic_origin"}
_DATACLASS = (
    _WRAPPER | {"cls", "fields", "post_init", "frozen", "slots", "config"} | {"generic_origin"}
)
_FIELDS = _ALWAYS | {"fields", "model_name", "dataclass_name", "computed_fields"}
_CONFIG = frozenset(
    {"title", "frozen", "arbitrary_types_allowed", "from_attributes", "validate_assignment"}
    | {"extra_fields_behavior"}
)


class _Analysis:
    """One walk over a schema; raises `NotPlain`."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._open: set[str] = set()
        self.has_conditions = False

    def of(self, schema: Schema) -> Plain:
        kind = cast("str", schema["type"])
        if kind in _SCALARS:
            self._allow(schema, _SCALAR)
            return _SCALARS[kind]
        build = getattr(self, "_of_" + kind.replace("-", "_"), None)
        if build is None:
            raise NotPlain
        return cast("Plain", build(schema))

    def _of_definitions(self, schema: Schema) -> Plain:
        return self.of(schema["schema"])

    def _of_definition_ref(self, schema: Schema) -> Plain:
        name = cast("str", schema["schema_ref"])
        self._allow(schema, _ALWAYS | {"schema_ref"})
        if name in self._open or name not in self._definitions:
            raise NotPlain  # recursive: its values may be deeper than readers allow
        self._open.add(name)
        try:
            return self.of(self._definitions[name])
        finally:
            self._open.remove(name)

    def _of_any(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS)
        return Plain([str, int, float, bool, NoneType, list, dict], is_plain_json)

    def _of_default(self, schema: Schema) -> Plain:
        self._allow(schema, _DEFAULT)
        return self.of(schema["schema"])

    def _of_nullable(self, schema: Schema) -> Plain:
        self._allow(schema, _WRAPPER)
        inner = self.of(schema["schema"])
        is_one = inner.is_one
        if is_one is None:
            return Plain([*inner.kinds, NoneType])
        return Plain([*inner.kinds, NoneType], lambda value: value is None or is_one(value))

    def _of_union(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS | {"choices"})
        choices = cast("list[Any]", schema["choices"])
        if not all(isinstance(each, dict) and each["type"] in _TOLD_APART for each in choices):
            raise NotPlain
        return Plain(kind for choice in choices for kind in self.of(choice).kinds)

    def _of_literal(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS | {"expected"})
        expected = cast("list[object]", schema["expected"])
        if not _TEXT.issuperset(map(type, expected)):
            raise NotPlain
        return Plain([str], frozenset(expected).__contains__)

    def _of_enum(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS | {"cls", "members", "sub_type", "missing"})
        kinds: set[type] = {type(member.value) for member in cast("list[Enum]", schema["members"])}
        if schema.get("missing") is not None or kinds not in ({str}, {int}):
            raise NotPlain
        if issubclass(schema["cls"], Flag):
            raise NotPlain
        return Plain([schema["cls"]])

    def _of_list(self, schema: Schema) -> Plain:
        return self._collection(schema, list)

    def _of_set(self, schema: Schema) -> Plain:
        return self._collection(schema, set)

    def _of_frozenset(self, schema: Schema) -> Plain:
        return self._collection(schema, frozenset)

    def _collection(self, schema: Schema, kind: type) -> Plain:
        self._allow(schema, _ALWAYS | {"items_schema"})
        return Plain([kind], self.of(schema.get("items_schema", {"type": "any"})).each)

    def _of_tuple(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS | {"items_schema", "variadic_item_index"})
        items = [self.of(item) for item in schema["items_schema"]]
        if "variadic_item_index" not in schema:
            return Plain([tuple], _check_of_all([item.one for item in items]))
        if len(items) != 1:
            raise NotPlain
        return Plain([tuple], items[0].each)

    def _of_dict(self, schema: Schema) -> Plain:
        self._allow(schema, _ALWAYS | {"keys_schema", "values_schema"})
        # Without a type for keys, the string keys of JSON are kept.
        keys = schema.get("keys_schema", {"type": "str"})
        self._allow(keys, _SCALAR)
        are_keys = _KEYS.get(keys["type"])
        if are_keys is None:
            raise NotPlain
        values = self.of(schema.get("values_schema", {"type": "any"}))
        return Plain([dict], lambda value: are_keys(value) and values.each(value.values()))

    def _of_model(self, schema: Schema) -> Plain:
        self._allow(schema, _MODEL, off=("custom_init", "root_model"))
        return self._instance(schema, "model-fields")

    def _of_dataclass(self, schema: Schema) -> Plain:
        self._allow(schema, _DATACLASS, off=("post_init",))
        return self._instance(schema, "dataclass-args")

    def _instance(self, schema: Schema, kind: str) -> Plain:
        config = cast("Schema", schema.get("config") or {})
        self._allow(config, _CONFIG)
        inner = cast("Schema", schema["schema"])
        if inner["type"] != kind:
            raise NotPlain  # a validator of the whole
        self._allow(inner, _FIELDS | {"collect_init_only", "extra_behavior"})
        extra = (inner.get("extra_behavior"), config.get("extra_fields_behavior"))
        if inner.get("collect_init_only") or "allow" in extra:
            raise NotPlain
        named = dict(fields_of(inner))
        checks = {name: self._field(field, named) for name, field in named.items()}
        return Plain([schema["cls"]], _check_of_fields(checks))

    def _field(self, field: Schema, named: Mapping[str, object]) -> Plain:
        self._allow(field, _FIELD)
        alias = field.get("validation_alias")
        # An alias that is the name of another field would be decoded as that field.
        if alias is not None and (not isinstance(alias, str) or alias in named):
            raise NotPlain
        if field.get("init") is False:
            raise NotPlain
        return self.of(field["schema"])

    def _allow(self, schema: Schema, known: Collection[str], *, off: Collection[str] = ()) -> None:
        """Raise `NotPlain` if the schema has an unknown key, or a setting that must be off."""
        others = schema.keys() - known
        if not others <= _CONDITIONS or any(schema.get(name) for name in off):
            raise NotPlain
        self.has_conditions |= bool(others)


def _check_of_fields(fields: Mapping[str, Plain]) -> Check | None:
    """Check the types of all fields first, and then the fields that need more than that."""
    if not fields:
        return None
    read = _reader(tuple(fields))
    are_of_kinds = _check_of_kinds([field.kinds for field in fields.values()])
    conditions = [
        (index, field.is_one)
        for index, field in enumerate(fields.values())
        if field.is_one is not None
    ]
    if not conditions:
        return lambda value: are_of_kinds(read(value))

    def check(value: Any) -> bool:
        values = read(value)
        if not are_of_kinds(values):
            return False
        for index, is_one in conditions:  # noqa: SIM110 # faster than all()
            if not is_one(values[index]):
                return False
        return True

    return check


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    read = attrgetter(*names)
    return read if len(names) > 1 else lambda value: (read(value),)


def _check_of_kinds(kinds: Collection[frozenset[type]]) -> Callable[[tuple[Any, ...]], bool]:
    if all(len(each) == 1 for each in kinds):
        exact = tuple(kind for each in kinds for kind in each)
        return lambda values: tuple(map(type, values)) == exact
    contains = cast("Callable[[frozenset[type], type], bool]", frozenset.__contains__)
    return lambda values: all(map(contains, kinds, map(type, values)))


def _check_of_all(checks: Collection[Check]) -> Check:
    def check(values: tuple[Any, ...]) -> bool:
        return len(checks) == len(values) and all(
            fits(value) for fits, value in zip(checks, values, strict=True)
        )

    return check
