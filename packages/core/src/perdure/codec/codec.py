"""One codec per annotation: encodes and decodes, and knows when encoding needs a second look.

A value that is exactly of a plain type is encoded and that is all. Any other is decoded again at
once, compared with what went in, and encoded a second time to the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic_core import PydanticSerializationError, ValidationError, from_json, to_json

from perdure.codec.comparing import Comparison
from perdure.codec.differences import DoesNotComeBack, Path, many_texts, reason_of
from perdure.codec.ordering import in_order
from perdure.codec.places import Schema, left_out, mentions, place_of
from perdure.codec.plain import (
    Check,
    NotPlain,
    PlainType,
    is_plain_json,
    may_hold_a_long_integer,
)
from perdure.codec.reading import JsonReading
from perdure.codec.searching import explain_refusal, explain_unread
from perdure.codec.texts import unreadable
from perdure.codec.unstorable import why_unstorable
from perdure.codec.written import Written

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


class Codec:
    """Encodes and decodes by one annotation; raises pydantic's error where it cannot be used."""

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
        self._place = place_of(schema)
        self._holds_sets = mentions(schema, "set", "frozenset")
        self.left_out = left_out(schema)
        """The fields of a model or a dataclass that its author excludes."""

    @property
    def is_plain(self) -> bool:
        """Whether values that are exactly of the type are known to come back."""
        return self._plain is not None

    def why_unstorable(self) -> str | None:
        """Why no value of the type can be stored, and what to do; None where values can."""
        return why_unstorable(cast("dict[str, Any]", self._adapter.core_schema))

    @property
    def may_hold_sets(self) -> bool:
        """Whether values may have parts without an order."""
        return self._holds_sets or self._place is not None

    def load(self, text: str | bytes) -> Any:
        """The value of a JSON text; fields are found by name and by alias."""
        return self._adapter.validator.validate_json(text, by_alias=True, by_name=True)

    def dump(self, value: object, path: Path = None) -> bytes:
        """The JSON text of a value that comes back equal; `path` is where the value stands.

        Raises `DoesNotComeBack`, or what pydantic raises for a value that does not fit.
        """
        # Written out, for this is passed by every value of every step.
        plain = self._plain
        if plain is None or type(value) not in plain.kinds:
            return self._dump_compared(value, path)
        if plain.is_one is not None and not _is_one(plain.is_one, value):
            return self._dump_compared(value, path)
        try:
            # Of warnings there are none, and asking for them costs more.
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
            raise explain_unread(value, path) or error from None
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
    """The JSON text of a value that no annotation describes; raises `DoesNotComeBack`."""
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
    """The codec of an annotation as it is written; raises pydantic's error where there is none."""
    known = _RECENT.get(id(annotation))
    if known is not None and known[0] is annotation:
        return known[1]
    codec = _find(annotation)
    if len(_RECENT) >= _MOST_CODECS:
        _RECENT.clear()
    _RECENT[id(annotation)] = (annotation, codec)
    return codec


_MOST_CODECS = 1024
_RECENT: dict[int, tuple[object, Codec]] = {}
"""By identity, for a type such as `list[int]` takes longer to hash than a value to encode."""


def _find(annotation: object) -> Codec:
    if isinstance(annotation, type):
        return _cached_by_class(annotation)
    try:
        return _cached_by_spelling(Written(annotation))
    except TypeError:  # some part of it cannot be hashed
        return Codec(annotation)


@lru_cache(maxsize=_MOST_CODECS)
def _cached_by_class(annotation: type) -> Codec:
    return Codec(annotation)


@lru_cache(maxsize=_MOST_CODECS)
def _cached_by_spelling(written: Written) -> Codec:
    return Codec(written.annotation)


def _adapter(annotation: object) -> TypeAdapter[Any]:
    # Imported at the first use: this is most of what importing pydantic costs.
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        # JSON has no NaN and no infinity; as strings they come back as the floats they were.
        config = ConfigDict(ser_json_inf_nan="strings")
        return TypeAdapter[Any](annotation, config=config)  # pyright: ignore[reportArgumentType] # an annotation, as a value
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # A model or dataclass, with a configuration of its own.
        return TypeAdapter[Any](annotation)  # pyright: ignore[reportArgumentType] # an annotation, as a value


def _check_by_type(value: object, annotation: object, path: Path) -> bool:
    """Check that it comes back by this type; says whether it may hold a set."""
    try:
        codec = codec_of(annotation)
        codec.dump(value, path)
    except DoesNotComeBack:
        raise
    except Exception as error:
        raise DoesNotComeBack(
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


_READING = JsonReading(_check_by_type)
_COMPARISON = Comparison(_READING.check, _left_out)
