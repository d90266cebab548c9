"""Attribute values: plain Python on this side, DynamoDB's typed JSON on the wire.

Everything above the transport deals in `Plain` values; everything below it in wire values. Nothing
else in the package knows that a number travels as text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, TypeAlias, cast

from perdure.errors import StorageCorrupt

Plain: TypeAlias = "str | int | bytes | list[Plain] | dict[str, Plain]"
Wire: TypeAlias = Mapping[str, object]
Item: TypeAlias = dict[str, Plain]


def to_wire(value: Plain) -> dict[str, object]:
    """One value as it travels."""
    match value:
        case str():
            return {"S": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case list():
            return {"L": [to_wire(each) for each in value]}
        case dict():
            return {"M": {name: to_wire(each) for name, each in value.items()}}


def from_wire(wire: Wire) -> Plain:
    """One value as it came."""
    [(kind, value)] = wire.items()
    match kind:
        case "S":
            return cast("str", value)
        case "N" if re.fullmatch(r"-?[0-9]+", number := cast("str", value)):
            return int(number)
        case "B":
            # The driver gives bytes, and an answer as it came their text.
            return (
                base64.b64decode(value) if isinstance(value, str) else bytes(cast("bytes", value))
            )
        case "L":
            return [from_wire(each) for each in cast("list[Wire]", value)]
        case "M":
            return {name: from_wire(each) for name, each in cast("dict[str, Wire]", value).items()}
        case _:
            # Of a kind that is never written here. A reader that needs the attribute complains, and
            # others are not hindered.
            return _STRANGE


_STRANGE: Final[dict[str, Plain]] = {"strange": b""}


def item_to_wire(item: Mapping[str, Plain]) -> dict[str, dict[str, object]]:
    """A whole item, or a key, or the values of an expression, as they travel."""
    return {name: to_wire(value) for name, value in item.items()}


class Row(Mapping[str, Plain]):
    """An item as it was read; its accessors say what type they expect."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Plain]) -> None:
        self._values = values

    @classmethod
    def from_wire(cls, wire: Mapping[str, Wire]) -> Row:
        """The item as it came."""
        return cls({name: from_wire(value) for name, value in wire.items()})

    def __getitem__(self, name: str) -> Plain:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self._values.get(name)
        return value if isinstance(value, str) else self._missing(name)

    def number(self, name: str) -> int:
        """A number that must be there."""
        value = self._values.get(name)
        return value if isinstance(value, int) else self._missing(name)

    def text_or_none(self, name: str) -> str | None:
        """A text, or None where there is no such attribute."""
        return self.text(name) if name in self._values else None

    def number_or_none(self, name: str) -> int | None:
        """A number, or None where there is no such attribute."""
        return self.number(name) if name in self._values else None

    def bytes_or_none(self, name: str) -> bytes | None:
        """Bytes, or None where there is no such attribute."""
        value = self._values.get(name)
        return value if value is None or isinstance(value, bytes) else self._missing(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where there is no such attribute."""
        value = self._values.get(name, [])
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(cast("list[str]", value))
        return self._missing(name)

    def row_or_none(self, name: str) -> Row | None:
        """A nested map, or None where there is no such attribute."""
        value = self._values.get(name)
        return (
            None
            if value is None
            else Row(value)
            if isinstance(value, dict)
            else self._missing(name)
        )

    def _missing(self, name: str) -> NoReturn:
        raise StorageCorrupt(
            f"item {self._values.get('pk')!r} / {self._values.get('sk')!r} has no usable attribute"
            f" {name!r}; it was damaged or written by something else",
            operation="read",
        )
