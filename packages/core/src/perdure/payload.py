"""Payloads: JSON text on the wire, decoded and encoded by the annotations of functions.

What a first run sees is what a replay sees, because values make the round trip through text on
the live path too. Nothing is ever pickled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from perdure.errors import InvalidPayload, PayloadTooLarge

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST_PAYLOAD = 16 * 1024 * 1024
"""In bytes of JSON text."""

NULL = "null"


def encode(value: object, annotation: object = Any, *, what: str = "value") -> str:
    """The value as JSON text, encoded by the annotation (or by its own type, for `Any`).

    Raises `InvalidPayload` where it cannot be encoded or does not fit the annotation, and
    `PayloadTooLarge`; `what` names the value in the message.
    """
    if value is None and annotation in (Any, None, type(None)):
        return NULL
    try:
        if annotation is Any:
            data = to_json(value, inf_nan_mode="strings")
        else:
            data = adapter(annotation).dump_json(value, warnings="error")
        text = data.decode()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        wanted = "" if annotation is Any else f" as {_name(annotation)}"
        raise InvalidPayload(
            f"{what} of type {type(value).__name__!r} cannot be encoded{wanted}: {error};"
            " pass a value that fits, or a pydantic model"
        ) from error
    if len(data) > LARGEST_PAYLOAD:
        raise _too_large(what, len(data))
    return text


def decode(text: str, annotation: object = Any, *, what: str = "value") -> Any:  # noqa: ANN401 # the annotation is a value here; callers know the type
    """The value of a JSON text, made to fit the annotation.

    Raises `InvalidPayload` where it does not fit.
    """
    try:
        if annotation is Any:
            return from_json(text)
        return adapter(annotation).validate_json(text)
    except ValueError as error:
        raise InvalidPayload(
            f"{what} {_shorten(text)} does not fit {_name(annotation)}: {error}"
        ) from error


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
    from pydantic import TypeAdapter

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
    return getattr(annotation, "__name__", None) or repr(annotation)


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
