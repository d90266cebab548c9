"""Texts as PostgreSQL can store them: without the character U+0000.

U+0000 and U+0001 are stored as U+0001 and a digit, every other character as it is. Different texts
stay different, and a text begins with another exactly if its stored form does.
"""

from __future__ import annotations

from typing import TypeVar, cast

Some = TypeVar("Some", bound="str | None")


def stored(text: Some) -> Some:
    """The stored form of a text; None stays None."""
    if text is None or ("\0" not in text and "\1" not in text):
        return text
    return cast("Some", text.replace("\1", "\1" + "1").replace("\0", "\1" + "0"))


def told(text: Some) -> Some:
    """The text of a stored form."""
    if text is None or "\1" not in text:
        return text
    return cast("Some", text.replace("\1" + "0", "\0").replace("\1" + "1", "\1"))
