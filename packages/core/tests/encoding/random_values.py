"""Random annotations with random values, as source text, and what becomes of them.

Source text, so that another process can make the same value: `python random_values.py` reads
cases from its input, one in a line, and writes what becomes of each.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from perdure.errors import InvalidPayload
from perdure.model.payload import check_text, decode, encode
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr

REFUSED = "refused"
T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    lives: int = 9
    names: set[str] = set()


class Kitten(Cat):
    age: float = 0.5


class Dog(BaseModel):
    lives: int = 1
    at: datetime | None = None
    data: dict[str, Any] = {}
    cost: Decimal = Field(default=Decimal(1), ge=0)


@dataclass(frozen=True)
class Point:
    x: int
    y: float


@dataclass(frozen=True)
class Spot(Point):
    name: str = ""


@dataclass
class Shape:
    points: list[Point]
    corners: frozenset[Point] = frozenset()
    area: float = field(init=False, default=0.0)


class Names(RootModel[frozenset[str]]):
    model_config = ConfigDict(frozen=True)


class Box(BaseModel, Generic[T]):
    item: T


class Pair(NamedTuple):
    left: int
    right: frozenset[str]


NAMES: dict[str, Any] = {
    **{
        each.__name__: each
        for each in (Colour, Level, Cat, Kitten, Dog, Point, Spot, Shape, Pair, Names, Box)
    },
    **{each.__name__: each for each in (date, datetime, timedelta, timezone, Decimal, UUID)},
    "Any": Any,
    "Literal": Literal,
    "SecretStr": SecretStr,
    "UTC": UTC,
    "inf": math.inf,
    "nan": math.nan,
}


def outcome(annotation: str, value: str) -> str:
    """The text of the value, read back and found equal; or that it is refused."""
    kind: Any = eval(annotation, NAMES)  # noqa: S307 # source text of our own making
    what: Any = eval(value, NAMES)  # noqa: S307 # likewise
    try:
        text = encode(what, kind)
    except InvalidPayload:
        return REFUSED
    back = decode(text, kind)
    assert encode(back, kind) == text, (annotation, value, text, back)
    assert check_text(text, what="text") == text
    if "Any" not in annotation and "Dog" not in annotation and "nan" not in value:
        assert back == what, (annotation, value, text, back)
    return text


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(outcome(*json.loads(line))))


if __name__ == "__main__":
    main()
