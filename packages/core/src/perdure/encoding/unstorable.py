"""Types of which no value can be stored, found in their schema before there is a value.

Only types that fail with every value are found: a secret is encoded as asterisks, a function and an
iterator not at all. A class whose author defines its encoding is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from perdure.encoding.untyped_parts import NO_SCHEMAS, Schema

_KINDS = {
    "callable": "a function cannot be stored; pass the name of one",
    "generator": "what can be iterated once cannot be stored; pass a list",
}
_ASTERISKS = (
    "a secret is encoded as asterisks and never comes back; pass where the secret is kept, and"
    " read it in the activity"
)


def why_unstorable(schema: Schema) -> str | None:
    """Why no value can be stored, and what to do instead; None for a type not known to fail."""
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, list | tuple):
            pending.extend(cast("list[object]", part))
        if not isinstance(part, Mapping):
            continue
        mapping = cast("Schema", part)
        encoder = _encoder(mapping)
        if _is_secret(encoder):
            return _ASTERISKS
        kind = mapping.get("type")
        if isinstance(kind, str) and kind in _KINDS and encoder is None:
            return _KINDS[kind]
        if encoder is None and mapping.get("serialization_exclude") is not True:
            pending.extend(value for key, value in mapping.items() if key not in NO_SCHEMAS)
    return None


def _encoder(schema: Schema) -> object:
    """The function that encodes the type in place of pydantic, or None."""
    serialization = schema.get("serialization")
    if not isinstance(serialization, Mapping):
        return None
    return cast("Schema", serialization).get("function")


def _is_secret(encoder: object) -> bool:
    """Whether this is pydantic's encoder for `SecretStr` and the like."""
    module, name = getattr(encoder, "__module__", ""), getattr(encoder, "__name__", "")
    return module == "pydantic.types" and name.startswith("_serialize_secret")
