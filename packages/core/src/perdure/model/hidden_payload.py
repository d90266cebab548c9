"""Payloads that a document does not show: a hash or a mark stands for the text.

A hidden payload is no JSON, so that it is never taken for one that is stored. In a replay a
`HiddenValue` stands for its value: the code may pass it on, and a look into it ends the replay.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal, NoReturn, TypeAlias

from pydantic_core import from_json

from perdure.errors import ForbiddenInOrchestration
from perdure.model.guards import forbid

Payloads: TypeAlias = Literal["full", "hash", "none"]
"""How a document has payloads: as they are, as hashes, or not at all."""

_HASH: Final = "sha256:"
HIDDEN: Final = "hidden"
"""Stands for a payload of which nothing is known."""
_NULL: Final = "null"


class HiddenPayloadUsed(ForbiddenInOrchestration):
    """The code looks into a payload that the document does not show."""


def hide(text: str, payloads: Payloads) -> str:
    """What stands for a payload; `null` stays, because a hash of it would tell it too."""
    if payloads == "full" or text == _NULL or is_hidden(text):
        return text
    if payloads == "none":
        return HIDDEN
    # Alike for texts that differ in the order of keys and in blanks alone.
    plain = json.dumps(from_json(text), sort_keys=True, separators=(",", ":"))
    return hide_words(plain, payloads)


def hide_words(text: str, payloads: Payloads) -> str:
    """What stands for a text that is no JSON, such as the message of an error."""
    if payloads == "full":
        return text
    return HIDDEN if payloads == "none" else _HASH + hashlib.sha256(text.encode()).hexdigest()


def is_hidden(text: str) -> bool:
    """Whether the text stands for a payload that is not shown."""
    return text.startswith(_HASH) or text == HIDDEN


def hide_alike(text: str, recorded: str) -> str:
    """The payload as a document has it that hides its payloads as `recorded` is hidden."""
    return hide(text, "none" if recorded == HIDDEN else "hash")


def may_be_equal(text: str, other: str) -> bool:
    """Whether two payloads may be the same, where at least one of them is hidden."""
    if HIDDEN in (text, other):
        return True
    return hide(text, "hash") == hide(other, "hash")


class HiddenValue:
    """Stands for the value of a hidden payload in a replay; only its `repr` is no look into it."""

    __slots__ = ("_perdure_text",)

    def __init__(self, text: str = HIDDEN) -> None:
        self._perdure_text = text

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
        # `isinstance` and `match` ask for it: a branch on the type is a look, too.
        _refuse(self)

    def __repr__(self) -> str:
        return "<hidden value>"


def text_of(value: HiddenValue) -> str:
    """What stands for the payload."""
    return value._perdure_text  # pyright: ignore[reportPrivateUsage] # every other name is a look


def _refuse(value: HiddenValue, *_: object) -> NoReturn:
    forbid(
        HiddenPayloadUsed(
            "the code looks into a payload that the document does not show, and the replay ends"
            " there; export the history with its payloads to replay the rest"
        )
    )


def _refuse_every_look() -> None:
    """Let each operation on a hidden value end the replay."""
    names = (
        "getattr bool len iter getitem contains call str format hash eq ne lt le gt ge int float"
        " index complex round trunc add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv"
        " mod rmod divmod rdivmod pow rpow neg pos abs invert and rand or ror xor rxor lshift"
        " rlshift rshift rrshift await aiter anext next enter exit aenter aexit bytes dir"
    )
    for name in names.split():
        setattr(HiddenValue, f"__{name}__", _refuse)


_refuse_every_look()
