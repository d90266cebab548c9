"""One codec for each annotation: it encodes and decodes, and checks that values round-trip.

A value that is exactly of a plain type is only encoded. The text of any other value is decoded at
once and compared with the value, and encoding that again must give the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic_core import PydanticSerializationError, ValidationError, from_json, to_json

from perdure.encoding.annotations import SpelledAnnotation
from perdure.encoding.differences import DoesNotRoundTrip, Path, many_texts, reason_of
from perdure.encoding.error_locations import explain_refusal, explain_unreadable
from perdure.encoding.ordering import in_order
from perdure.encoding.plain import (
    Check,
    NotPlain,
    PlainType,
    is_plain_json,
    may_hold_a_long_integer,
)
from perdure.encoding.round_trip import Comparison
from perdure.encoding.texts import unreadable
from perdure.encoding.unstorable import why_unstorable
from perdure.encoding.untyped_parts import Schema, left_out, mentions, untyped_part_of
from perdure.encoding.untyped_values import UntypedValues

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


class Codec:
    """Encodes and decodes by one annotation; raises pydantic's error if the annotation is not usable."""

    __slots__ = (
        "_adapter",
        "_has_conditions",
        "_holds_sets",
        "_place",
        "_plain",
        "_to_json",
        "left_out",
    )

    def __init__(self, annotation: object) -> None:
        self._adapter = _adapter(annotation)
        schema = cast("dict[str, Any]", self._adapter.core_schema)
        self._to_json = self._adapter.serializer.to_json
        plain = _plain_type(schema)
        self._plain = None if plain is None else plain.values
        self._has_conditions = plain is not None and plain.has_conditions
        self._place = untyped_part_of(schema)
        self._holds_sets = mentions(schema, "set", "frozenset")
        self.left_out = left_out(schema)
        """The fields of a model or a dataclass that its author excludes from encoding."""

    @property
    def is_plain(self) -> bool:
        """Whether values that are exactly of the type are known to round-trip."""
        return self._plain is not None

    def why_unstorable(self) -> str | None:
        """Why no value of the type can be stored, and what to do instead; None if values can be."""
        return why_unstorable(cast("dict[str, Any]", self._adapter.core_schema))

    @property
    def may_hold_sets(self) -> bool:
        """Whether values may contain sets, which have no order."""
        return self._holds_sets or self._place is not None

    def load(self, text: str | bytes) -> Any:
        """Decode JSON text; fields may have their name or their alias."""
        return self._adapter.validator.validate_json(text, by_alias=True, by_name=True)

    def dump(self, value: object, path: Path = None) -> bytes:
        """Encode a value as JSON text; `path` is its location in a larger value.

        Raises `DoesNotRoundTrip`, or pydantic's error for a value that does not fit the annotation.
        """
        # Written out for speed, because every value of every step passes here.
        plain = self._plain
        if plain is None or type(value) not in plain.kinds:
            return self._dump_compared(value, path)
        if plain.is_one is not None and not _is_one(plain.is_one, value):
            return self._dump_compared(value, path)
        try:
            # There are no warnings to ask for, and asking costs more.
            data = self._to_json(value, warnings=False, round_trip=True)
        except PydanticSerializationError as error:
            raise explain_refusal(value, path, error) or error from None
        if self._has_conditions or may_hold_a_long_integer(data):
            _read(self.load, data)  # it may be refused, and is never changed
        return in_order(value, data) if self._holds_sets else data

    def _dump_compared(self, value: object, path: Path) -> bytes:
        data = self._ordered_text(value, path)
        try:
            back = _read(self.load, data)
        except ValidationError as error:
            raise explain_unreadable(value, path) or error from None
        _COMPARISON.same(value, back, self._place, path)
        if self._ordered_text(back, path) != data:
            raise many_texts(path, value)
        return data

    def _ordered_text(self, value: object, path: Path) -> bytes:
        data = self._text(value, path)
        return _read(partial(in_order, value), data) if self.may_hold_sets else data

    def _text(self, value: object, path: Path) -> bytes:
        try:
            return self._to_json(value, warnings="error", round_trip=True)
        except PydanticSerializationError as error:
            raise explain_refusal(value, path, error) or error from None


def _read(read: Callable[[bytes], T], data: bytes) -> T:
    try:
        return read(data)
    except ValueError as error:
        raise unreadable(data, error) or error from None


def dump_untyped(value: object) -> bytes:
    """Encode a value without an annotation as JSON text; raises `DoesNotRoundTrip`."""
    is_plain = is_plain_json(value)
    try:
        data = to_json(value, inf_nan_mode="constants", by_alias=False)
    except PydanticSerializationError as error:
        raise explain_refusal(value, None, error) or error from None
    if is_plain:
        return data
    _read(from_json, data)
    return in_order(value, data) if _READING.check(value, None) else data


def codec_of(annotation: object) -> Codec:
    """The codec of an annotation as it is spelled; raises pydantic's error if it is not usable."""
    key = id(annotation)
    known = _RECENT.get(key)
    if known is not None and known[0] is annotation:
        return known[1]
    codec = _find(annotation)
    if len(_RECENT) >= _MOST_CODECS:
        _RECENT.clear()
    _RECENT[key] = (annotation, codec)
    return codec


_MOST_CODECS = 1024
_RECENT: dict[int, tuple[object, Codec]] = {}
"""By identity, because hashing a type such as `list[int]` takes longer than encoding a value."""


def _find(annotation: object) -> Codec:
    if isinstance(annotation, type):
        return _cached_by_class(annotation)
    try:
        return _cached_by_spelling(SpelledAnnotation(annotation))
    except TypeError:  # some part of it cannot be hashed
        return Codec(annotation)


@lru_cache(maxsize=_MOST_CODECS)
def _cached_by_class(annotation: type) -> Codec:
    return Codec(annotation)


@lru_cache(maxsize=_MOST_CODECS)
def _cached_by_spelling(written: SpelledAnnotation) -> Codec:
    return Codec(written.annotation)


def _adapter(annotation: object) -> TypeAdapter[Any]:
    # Imported at first use, because it is most of the cost of importing pydantic.
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        # JSON has no NaN and no infinity; as strings they round-trip.
        config = ConfigDict(ser_json_inf_nan="strings")
        return TypeAdapter[Any](annotation, config=config)  # pyright: ignore[reportArgumentType] # an annotation, as a value
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # A model or dataclass with its own configuration.
        return TypeAdapter[Any](annotation)  # pyright: ignore[reportArgumentType] # an annotation, as a value


def _check_by_type(value: object, annotation: object, path: Path) -> bool:
    """Check that a value round-trips by this type; returns whether it may contain a set."""
    try:
        codec = codec_of(annotation)
        codec.dump(value, path)
    except DoesNotRoundTrip:
        raise
    except Exception as error:
        raise DoesNotRoundTrip(
            path,
            f"is a {type(value).__name__} that cannot be checked: {reason_of(error, 120)}",
            "pass plain data, or a pydantic model",
        ) from error
    return codec.may_hold_sets


def _plain_type(schema: Schema) -> PlainType | None:
    try:
        return PlainType(schema)
    except NotPlain:
        return None


def _is_one(is_one: Check, value: object) -> bool:
    try:
        return is_one(value)
    except AttributeError:  # a model that was made without some field
        return False


def _left_out(kind: type) -> frozenset[str]:
    try:
        return codec_of(kind).left_out
    except Exception:  # noqa: BLE001 # a class that pydantic knows by another's schema only
        return frozenset()


_READING = UntypedValues(_check_by_type)
_COMPARISON = Comparison(_READING.check, _left_out)
