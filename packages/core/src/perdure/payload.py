"""Payloads: JSON text on the wire, decoded and encoded by the annotations of functions.

What a first run sees is what a replay sees, because values make the round trip through text on
the live path too. Nothing is ever pickled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import ValidationError, from_json, to_json

from perdure.errors import InvalidPayload, PayloadTooLarge

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST_PAYLOAD = 16 * 1024 * 1024
"""In bytes of JSON text."""

NULL = "null"

_PLAIN: tuple[object, ...] = (str, int, bool)
"""Types whose values fit by being of them."""

_UNTYPED: tuple[object, ...] = (Any, object)
"""Annotations that say nothing."""

_UNFIT = (ValueError, TypeError, AttributeError, NameError, RuntimeError)
"""What pydantic raises for a value that does not fit, and for an annotation that it cannot use."""


def encode(value: object, annotation: object = Any, *, what: str = "value") -> str:
    """The value as JSON text, encoded by the annotation (or by its own type, for `Any`).

    The text is one that `decode` makes fit the same annotation: what would be refused there is
    refused here, before it is stored. Raises `InvalidPayload` where that cannot be, and
    `PayloadTooLarge`; `what` names the value in the message.
    """
    if value is None and annotation in (Any, None, type(None)):
        return NULL
    try:
        data = _dump_any(value) if annotation in _UNTYPED else _dump(value, annotation)
        text = data.decode()
    except _UNFIT as error:
        wanted = "" if annotation is Any else f" as {_name(annotation)}"
        raise InvalidPayload(
            f"{what} of type {type(value).__name__!r} cannot be encoded{wanted}: {_why(error)};"
            " pass a value that fits, or a pydantic model"
        ) from error
    if len(data) > LARGEST_PAYLOAD:
        raise _too_large(what, len(data))
    return text


def decode(text: str, annotation: object = Any, *, what: str = "value") -> Any:
    """The value of a JSON text, made to fit the annotation.

    Fields of models are found by name and by alias. Raises `InvalidPayload` where it does not
    fit.
    """
    try:
        if annotation in _UNTYPED:
            return from_json(text)
        return adapter(annotation).validate_json(text, by_alias=True, by_name=True)
    except _UNFIT as error:
        raise InvalidPayload(
            f"{what} {_shorten(text)} does not fit {_name(annotation)}: {_why(error)}; pass JSON"
            " of that shape"
        ) from error


def _dump_any(value: object) -> bytes:
    data = to_json(value, inf_nan_mode="constants", by_alias=False)
    if b"NaN" in data or b"Infinity" in data:
        try:
            from_json(data, allow_inf_nan=False)
        except ValueError:
            # Not in a string. Without an annotation no text brings them back as floats.
            raise ValueError(
                "JSON has no NaN and no infinity, and no annotation says float"
            ) from None
    return data


def _dump(value: object, annotation: object) -> bytes:
    kind = cast("object", type(value))
    if kind is annotation and kind in _PLAIN:
        return to_json(value)
    fitting = adapter(annotation)
    data = fitting.dump_json(value, warnings="error", round_trip=True)
    # Encoding checks little: constraints, None, keys that are missing and NaN pass unseen.
    fitting.validate_json(data, by_alias=True, by_name=True)
    return data


def check_text(text: str | None, *, what: str) -> str:
    """Return `text` if it is JSON of at most 16 MiB; None stands for `null`.

    Raises `InvalidPayload` or `PayloadTooLarge`; nothing is decoded into Python values for use.
    """
    if text is None:
        return NULL
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidPayload(
            f"{what} is a {type(text).__name__}, not JSON text; use the _typed method for values"
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidPayload(
            f"{what} {_shorten(text)} has surrogates that UTF-8 cannot carry; remove them"
        ) from None
    if size > LARGEST_PAYLOAD:
        raise _too_large(what, size)
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidPayload(
            f"{what} {_shorten(text)} is not JSON: {error}; a plain string needs its quotes,"
            " or use the _typed method"
        ) from None
    return text


@lru_cache(maxsize=1024)
def _cached_adapter(annotation: object) -> TypeAdapter[Any]:
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


def adapter(annotation: object) -> TypeAdapter[Any]:
    """The pydantic adapter of an annotation; raises pydantic's own error where there is none."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _cached_adapter.__wrapped__(annotation)


def _too_large(what: str, size: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"{what} has {size} bytes of JSON text, more than the limit of {LARGEST_PAYLOAD};"
        " store it elsewhere and pass a reference"
    )


def _name(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _why(error: Exception) -> str:
    """The first thing that is wrong, in one line."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        place = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(others)} more)" if others else ""
        return f"{place}: {first['msg']}{more}" if place else f"{first['msg']}{more}"
    text = str(error).partition("\nFor further information")[0]
    line = " ".join(text.split()).removeprefix("Pydantic serializer warnings: ")
    line = line or type(error).__name__
    return line if len(line) <= 300 else line[:297] + "..."


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
