"""Which types are known to come back: those of ordinary business data, and no others."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from perdure.encoding import codec_of
from perdure.errors import InvalidPayload
from perdure.model.payload import decode, encode
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    computed_field,
    field_serializer,
    model_validator,
)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    ends: tuple[Point, Point]
    names: dict[str, str] = field(default_factory=dict)


class Item(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    sku: str = Field(alias="SKU", default="", description="of the shop")
    price: Decimal = Decimal()
    kind: Literal["a", "b"] = "a"


class Order(BaseModel):
    id: UUID
    items: list[Item]
    more: list[Item] | None = None
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    on: date | None = None
    wait: timedelta = timedelta()
    tags: set[str] = set()
    data: dict[str, Any] = {}
    number: int | str = 0
    colour: Colour = Colour.RED

    @computed_field
    @property
    def size(self) -> int:
        return len(self.items)


class Constrained(BaseModel):
    side: int = Field(gt=0)


class Tree(BaseModel):
    branches: list[Tree] = []


class Pair(NamedTuple):
    left: int
    right: int


class Serialized(BaseModel):
    x: int

    @field_serializer("x")
    def write(self, x: int) -> int:
        return x


class Validated(BaseModel):
    x: int

    @model_validator(mode="after")
    def check(self) -> Validated:
        return self


class Excluding(BaseModel):
    x: int = Field(default=0, exclude=True)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class Stripping(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    x: str


@dataclass
class After:
    x: int

    def __post_init__(self) -> None: ...


@dataclass
class NotInit:
    x: int = field(init=False, default=0)


PLAIN = [
    *(None, bool, int, float, str, bytes, Decimal, UUID, date, datetime, timedelta),
    *(list[int], dict[str, list[float | None]], tuple[int, ...], tuple[int, str], set[str]),
    *(int | str | None, dict[int, str], dict[str, Any], list[Any], dict[str, object]),
    *(Colour, Literal["a", "b"], Point, Line, Item, Order, list[Order], Constrained),
    *(Annotated[int, Field(gt=0)], Annotated[str, "a note"]),
]

NOT_PLAIN = [
    *(SecretStr, Tree, Pair, Serialized, Validated, Excluding, Extra, Stripping, After, NotInit),
    *(Item | Order, int | float, str | date, list[Item | Point], Literal[1], dict[float, int]),
    Annotated[int, PlainSerializer(str)],
    Annotated[int, AfterValidator(abs)],
]


@pytest.mark.parametrize("annotation", PLAIN)
def test_ordinary_types_are_known_to_come_back(annotation: object) -> None:
    assert codec_of(annotation).is_plain


@pytest.mark.parametrize("annotation", NOT_PLAIN)
def test_what_may_change_a_value_is_compared(annotation: object) -> None:
    assert not codec_of(annotation).is_plain


def test_the_values_of_a_plain_type_come_back() -> None:
    order = Order(
        id=UUID(int=3),
        items=[Item(SKU="x", price=Decimal("1.10")), Item(kind="b")],
        more=[],
        on=date(2024, 2, 29),
        wait=timedelta(hours=3),
        tags={"b", "a", "c"},
        data={"a": [1, None, {"b": "é"}]},
        number="7",
    )

    text = encode(order, Order)

    assert decode(text, Order) == order
    assert '"tags":["a","b","c"]' in text
    assert "size" not in text


class FakeInteger(int):
    """Equal to an integer and no int."""


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (FakeInteger(3), int),
        ([1, True], list[int]),
        ({"a": FakeInteger(3)}, dict[str, int]),
        ({FakeInteger(3): "a"}, dict[int, str]),
        (Order.model_construct(id=UUID(int=1), items=[], number=FakeInteger(3)), Order),
        ({"é": 1}, dict[str, int]),
    ],
)
def test_values_of_other_types_in_the_place_of_plain_ones_come_back_equal(
    value: object, annotation: object
) -> None:
    assert codec_of(annotation).is_plain
    assert decode(encode(value, annotation), annotation) == value


@pytest.mark.parametrize(
    ("value", "annotation", "where"),
    [
        (Constrained.model_construct(side=-1), Constrained, r"\$\.side"),
        ([Constrained.model_construct(side=-1)], list[Constrained], r"\$\[0\]\.side"),
        (Order.model_construct(items=[]), Order, r"\$\.id"),
        (Item.model_construct(kind="c"), Item, r"kind"),
        (Point(1, "a"), Point, "y"),  # pyright: ignore[reportArgumentType] # on purpose
        ([10**5000], list[int], r"\$\[0\]"),
        ("7" * 5000 + "\ud800", str, "surrogates"),
    ],
)
def test_a_plain_type_does_not_let_pass_what_cannot_be_decoded(
    value: object, annotation: object, where: str
) -> None:
    with pytest.raises(InvalidPayload, match=where):
        encode(value, annotation)


def test_a_text_of_many_digits_is_no_integer() -> None:
    assert decode(encode("7" * 5000, str), str) == "7" * 5000
