"""Payloads: JSON text on the wire, decoded and encoded by the annotations of functions.

A first run and a replay see the same values, because values make the round trip through text on
the live path too. Nothing is pickled. A value that would not come back equal is refused here,
before it is stored; `perdure.encoding` decides that.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from pydantic_core import from_json

from perdure.encoding import (
    DoesNotRoundTrip,
    check_json,
    codec_of,
    dump_untyped,
    reason_of,
    shows_value,
)
from perdure.errors import InvalidInput, InvalidPayload, PayloadTooLarge
from perdure.model.hidden_payload import HiddenValue, is_hidden, text_of
from perdure.model.shown import shown

LARGEST_PAYLOAD = 16 * 1024 * 1024
"""In bytes of JSON text."""

NULL = "null"

_WAY_OUT = "pass a value that fits, or a pydantic model"

_WAY_OUT_OF_TYPES = "use a type that pydantic encodes, or a pydantic model"

_UNFIT = (ValueError, TypeError, AttributeError, NameError, RuntimeError)
"""What pydantic raises for a value that does not fit, and for an annotation that it cannot use."""


def encode(value: object, annotation: object = Any, *, what: str = "value") -> str:
    """The value as JSON text, encoded by the annotation (or by its own type, for `Any`).

    `decode` returns an equal value by the same annotation, and plain JSON values without one. Equal
    values have the same text in every process. Raises `InvalidPayload` for a value that cannot be
    restored, and `PayloadTooLarge`; `what` names the value in the message.
    """
    if type(value) is HiddenValue:
        return text_of(value)
    try:
        if annotation is Any or annotation is object:
            data = dump_untyped(value)
        else:
            data = codec_of(annotation).dump(value)
        text = data.decode()
    except _UNFIT as error:
        wanted = "" if annotation is Any else f" as {type_name(annotation)}"
        way_out = "" if isinstance(error, DoesNotRoundTrip) else f"; {_WAY_OUT}"
        raise InvalidPayload(
            f"{what} of type {type(value).__name__!r} cannot be encoded{wanted}:"
            f" {reason_of(error)}{way_out}"
        ) from _cause(error)
    if len(data) > LARGEST_PAYLOAD:
        raise _too_large(what, len(data))
    return text


def decode(text: str, annotation: object = Any, *, what: str = "value") -> Any:
    """The value of a JSON text, validated by the annotation.

    Fields of models are found by name and by alias. Raises `InvalidPayload` if the text does not
    fit.
    """
    try:
        if annotation is Any or annotation is object:
            return from_json(text)
        return codec_of(annotation).load(text)
    except _UNFIT as error:
        if is_hidden(text):
            return HiddenValue(text)
        reason = reason_of(error)
        # The text is not shown: this message is logged and recorded, and the text may be a secret.
        unfit = InvalidPayload(
            f"{what} does not fit {type_name(annotation)}: {reason}; pass JSON of that shape"
        )
        unfit.reason = reason
        raise unfit from _cause(error)


def check_annotation(annotation: object, what: str) -> None:
    """Raise `InvalidInput` if values cannot be decoded by the annotation."""
    if annotation is Any or annotation is object:
        return
    if isinstance(annotation, FunctionType):
        # Pydantic would decode arguments and call it with them.
        raise InvalidInput(f"{what} cannot be the function {type_name(annotation)}; pass a type")
    try:
        codec_of(annotation)
    except Exception as error:
        raise InvalidInput(
            f"{what} cannot be {type_name(annotation)}: {reason_of(error)}; pass a type that pydantic"
            " can decode"
        ) from error


def why_unstorable(annotation: object) -> str | None:
    """Why no value of the type can be stored, and what to do; None where values can."""
    if annotation is Any or annotation is object or annotation is None:
        return None
    try:
        return codec_of(annotation).why_unstorable()
    except _UNFIT as error:
        return f"{reason_of(error)}; {_WAY_OUT_OF_TYPES}"


def check_text(
    text: str | None, *, what: str, instead: str = "make it a text with json.dumps"
) -> str:
    """Return `text` if it is JSON of at most 16 MiB; None stands for `null`.

    Raises `InvalidPayload` or `PayloadTooLarge`. `instead` tells the caller what to do with a
    Python value.
    """
    if text is None:
        return NULL
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidPayload(f"{what} is of type {type(text).__name__}, not JSON text; {instead}")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InvalidPayload(
            f"{what} {_shorten(text)} has surrogates that UTF-8 cannot carry; remove them"
        ) from None
    if len(data) > LARGEST_PAYLOAD:
        raise _too_large(what, len(data))
    try:
        check_json(data)
    except DoesNotRoundTrip as error:
        raise InvalidPayload(f"{what} {_shorten(text)} cannot be stored: {error}") from None
    except ValueError as error:
        raise InvalidPayload(
            f"{what} {_shorten(text)} is not JSON: {error}; a plain string needs its quotes, or"
            f" {instead}"
        ) from None
    return text


def _too_large(what: str, size: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"{what} has {size} bytes of JSON text, more than the limit of {LARGEST_PAYLOAD};"
        " store it elsewhere and pass a reference"
    )


def _cause(error: Exception) -> Exception | None:
    """The error as a cause, where it says more than `reason_of` and does not show the value."""
    return None if isinstance(error, DoesNotRoundTrip) or shows_value(error) else error


def type_name(annotation: object) -> str:
    """The type as a message shows it."""
    return annotation.__name__ if isinstance(annotation, type) else shown(annotation)


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
