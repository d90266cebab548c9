"""The values and the custom status of an instance: their limits, checked before anything is recorded."""

from __future__ import annotations

from typing import Final

from perdure.errors import InvalidInput
from perdure.model.shown import shown

MOST_VALUES: Final = 256
"""The most values of one instance."""
LONGEST_KEY: Final = 512
"""The longest key, in bytes of UTF-8."""
LARGEST_VALUE: Final = 64 * 1024
"""The largest value and the largest custom status, in bytes of JSON text."""


def check_key(key: str) -> str:
    """Return the key of a value if it has 1 to 512 bytes of UTF-8; raises `InvalidInput`."""
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidInput(f"the key {shown(key)} is not a string; pass 1 to {LONGEST_KEY} bytes")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidInput(
            f"the key {shown(key)} has characters that UTF-8 cannot carry; remove the surrogates"
        ) from None
    if not 1 <= size <= LONGEST_KEY:
        raise InvalidInput(f"the key {shown(key)} has {size} bytes; use 1 to {LONGEST_KEY}")
    return key


def check_size(text: str, what: str) -> str:
    """Return the JSON text of a value or a status if it is not too large; raises `InvalidInput`."""
    size = len(text.encode())
    if size > LARGEST_VALUE:
        raise InvalidInput(
            f"{what} has {size} bytes of JSON text, more than the limit of {LARGEST_VALUE}; keep"
            " what is larger elsewhere, and a reference here"
        )
    return text


def too_many_values(key: str) -> InvalidInput:
    """The error of an instance that has as many values as it may have."""
    return InvalidInput(
        f"the instance has {MOST_VALUES} values, the most that it may have, and cannot get"
        f" {shown(key)}; delete one, or keep several in one value"
    )
