"""The rule for ids and names, checked once at the edge, and the ids that core makes itself."""

from __future__ import annotations

import hashlib
import unicodedata

from perdure.errors import InvalidIdentifier
from perdure.model.shown import shown

LONGEST_IDENTIFIER = 512
"""In bytes of UTF-8."""


def check_identifier(value: str, what: str) -> str:
    """Return `value` if it is 1 to 512 bytes of UTF-8 without control characters.

    Raises `InvalidIdentifier`, which names the value and the rule; `what` says what it is.
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidIdentifier(
            f"{what} {shown(value)} is not a string; pass 1 to 512 bytes of text"
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidIdentifier(
            f"{what} {shown(value)} has characters that UTF-8 cannot carry; remove the surrogates"
        ) from None
    if not size:
        raise InvalidIdentifier(f"{what} '' is empty; pass 1 to 512 bytes of text")
    if size > LONGEST_IDENTIFIER:
        raise InvalidIdentifier(
            f"{what} {value[:40]!r}… has {size} bytes; shorten it to {LONGEST_IDENTIFIER}"
        )
    if not value.isprintable():
        for character in value:
            if unicodedata.category(character) == "Cc":
                raise InvalidIdentifier(
                    f"{what} {shown(value)} has the control character {character!r}; remove it"
                )
    return value


def child_instance(parent: str, execution: int, event: int) -> str:
    """The default id of a child: its parent's id and the schedule event.

    Where that would be too long, a digest stands for the parent's id.
    """
    suffix = f"::{execution}.{event}"
    if len(parent.encode()) + len(suffix) <= LONGEST_IDENTIFIER:
        return parent + suffix
    return hashlib.blake2b(parent.encode(), digest_size=16).hexdigest() + suffix


def child_incarnation(parent_incarnation: str, execution: int, event: int) -> str:
    """The incarnation of the child that this schedule event creates.

    Derived, so that parent and child agree on it without storing it twice; unique, because a
    history has each event number once.
    """
    seed = f"{parent_incarnation}/{execution}/{event}".encode()
    return hashlib.blake2b(seed, digest_size=16).hexdigest()
