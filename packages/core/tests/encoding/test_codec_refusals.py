"""Values that would not come back: refused with the place and the way out, or they come back."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from perdure.errors import InvalidPayload
from perdure.model.payload import decode, encode
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict

BERLIN = ZoneInfo("Europe/Berlin")


class Login(BaseModel):
    user: str
    token: SecretStr


class Shown(BaseModel):
    token: SecretStr

    @field_serializer("token")
    def show(self, token: SecretStr) -> str:
        return token.get_secret_value()


@dataclass
class Approve:
    user: str


@dataclass
class Reject:
    user: str


class Payment(BaseModel):
    amount: int


class CardPayment(Payment):
    card: str


class CashPayment(Payment):
    pass


class ByCard(BaseModel):
    kind: Literal["card"] = "card"
    amount: int


class ByCash(BaseModel):
    kind: Literal["cash"] = "cash"
    amount: int


class Order(BaseModel):
    items: list[Payment]
    by: dict[str, Approve | Reject] = {}
    at: datetime | None = None


@dataclass
class Numbered:
    name: str
    number: int = field(init=False, default=0)


@dataclass
class Derived:
    name: str
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.name)


@dataclass
class PartlyCompared:
    name: str
    rounded: Annotated[float, PlainSerializer(round)] = field(compare=False, default=0.0)


class Rounding(BaseModel):
    price: Decimal

    @field_serializer("price")
    def shorten(self, price: Decimal) -> str:
        return f"{price:.2f}"


class Growing(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def prefix(cls, name: str) -> str:
        return f"x{name}"


class LeftOut(BaseModel):
    name: str
    cache: int = Field(default=0, exclude=True)
    _hits: int = PrivateAttr(default=0)

    @functools.cached_property
    def shout(self) -> str:
        return self.name.upper()

    @computed_field
    @property
    def length(self) -> int:
        return len(self.name)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Anything(BaseModel):
    data: dict[str, Any]


class Swapped(BaseModel):
    left: int = Field(alias="right")
    right: int = Field(alias="left")


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Rights(IntFlag):
    READ = 1
    WRITE = 2


class Kind(Enum):
    ONE = 1
    TEXT = "1"


class Pair(NamedTuple):
    left: int
    right: str


class Point:
    """Has no `__eq__`, and tells pydantic how it is made into text."""

    def __init__(self, x: int, hidden: int = 0) -> None:
        self.x = x
        self.hidden = hidden

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.int_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda point: point.x),
        )


class Names(RootModel[set[str]]):
    pass


class Measured(BaseModel):
    value: float


class Settings(TypedDict, total=False):
    depth: int


class Ticking(BaseModel):
    value: int

    @field_serializer("value")
    def tick(self, value: int) -> str:
        _ticks.append(value)
        return f"{value}{' ' * len(_ticks)}"


_ticks: list[int] = []


def numbered(number: int) -> Numbered:
    value = Numbered("a")
    value.number = number
    return value


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


REFUSED = [
    # secrets
    (SecretStr("hunter2"), SecretStr, r"\$ is a secret", "get_secret_value"),
    (SecretBytes(b"hunter2"), SecretBytes, r"\$ is a secret", "get_secret_value"),
    (Login(user="u", token=SecretStr("hunter2")), Login, r"\$\.token is a secret", "resources"),
    ([Login(user="u", token=SecretStr("x"))], Any, r"\$\[0\]\.token is a secret", "resources"),
    ({"a": SecretStr("x")}, dict[str, object], r"\$\.a is a secret", "get_secret_value"),
    # unions of equal shape, and subclasses
    (Reject("bo"), Approve | Reject, r"\$ is of type Reject.*comes back as Approve", "discriminator"),
    (Order(items=[], by={"a b": Reject("bo")}), Order, r"\$\.by\['a b'\] is of", "discriminator"),
    (CardPayment(amount=1, card="1"), Payment, "its base Payment", "discriminator"),
    (CashPayment(amount=1), Payment, "its base Payment", "discriminator"),
    (
        Order.model_construct(items=[Payment(amount=1), CardPayment(amount=1, card="1")]),
        Order,
        r"\$\.items\[1\] is of type CardPayment",
        "discriminator",
    ),
    (CardPayment(amount=1, card="1"), SerializeAsAny[Payment], "its base Payment", "discriminator"),
    (math.inf, float | str, r"\$ is NaN or infinity", "pass None"),
    ({"a": date(2024, 1, 2)}, dict[str, str | date] | Open, r"\$\.a is of type date", "date first"),
    ({"a": date(2024, 1, 2)}, dict[str, str | date] | list[Any], r"\$\.a is of type date", "date"),
    (date(2024, 1, 2), str | date, r"\$ is of type date and comes back as str", "put date first"),
    (2**53 + 1, float, r"\$ is of type int and comes back as float", "annotate it as int"),
    # fields
    (numbered(3), Numbered, r"\$\.number is a field with init=False", "__init__"),
    (PartlyCompared("a", 1.5), PartlyCompared, r"\$\.rounded", "serializer"),
    (Rounding(price=Decimal("1.005")), Rounding, r"\$\.price comes back as another", "serializer"),
    (Growing(name="a"), Growing, r"\$\.name comes back as another str", "validator"),
    (Swapped(left=1, right=2), Swapped, r"\$\.left", "validator"),
    (Ticking(value=1), Ticking, "another text", "clock"),
    (Point(1, hidden=2), Point, r"\$\.hidden", "serializer"),
    # keys
    ({None: 1}, dict[str | None, int], r"\$ has keys \(NoneType\)", "keys of one type"),
    ({1: "a", "1": "b"}, dict[int | str, str], r"\$ has keys \(int, str\)", "keys of one type"),
    ({1: "a", "1": "b"}, Any, r"\$ has keys", "keys of one type"),
    ({None: 1}, Any, r"\$ has keys", "keys of one type"),
    ({(1, 2): 3}, Any, r"\$ has keys", "keys of one type"),
    ({"\ud800": 1}, dict[str, int], r"\$ has keys", "surrogates"),
    ({"a": {"\ud800": 1}, "b": (1,)}, dict[str, Any], r"\$\.a\['.ud800'\] is a text", ""),
    ({"a": ["b", "\ud800"]}, dict[str, list[str]], r"\$\.a\[1\] is a text with surrogates", "base64"),
    (Approve("\udcff"), Any, r"\$\.user is a text with surrogates", "base64"),
    ({"depth": 1, "width": 2}, Settings, r"\$\.width has a key that the annotation does not", "add"),
    # values of another type
    ([1, b"hunter2"], list[str], "expected str, found int", "pass a value that fits"),
    (Measured.model_construct(value="hunter2"), Measured, "expected float", "found str"),
    # instants
    (datetime(1890, 1, 1, tzinfo=BERLIN), datetime, "another instant", r"astimezone\(UTC\)"),
    (
        Order(items=[], at=datetime(1890, 1, 1, tzinfo=BERLIN)),
        Order,
        r"\$\.at is a datetime that comes back as another instant",
        r"astimezone\(UTC\)",
    ),
    ([datetime(1890, 1, 1, tzinfo=BERLIN)], Any, r"\$\[0\] is a datetime", r"astimezone\(UTC\)"),
    # numbers
    (Measured(value=math.nan), Measured, r"\$\.value is NaN or infinity", "ser_json_inf_nan"),
    ({"a": math.nan}, dict[str, object], r"\$\.a is NaN or infinity", "float"),
    ({"a": [1.0, -math.inf]}, Any, r"\$\.a\[1\] is NaN or infinity", "float"),
    ({math.nan: 1}, Any, r"\$ has keys", ""),
    (Decimal("NaN"), Any, "finite", ""),
    (10**5000, int, r"\$ is an integer of more than 4300 digits", "text"),
    (10**5000, Any, r"\$ is an integer of more than 4300 digits", "text"),
    ({"a": [1, 10**5000]}, dict[str, list[int]], r"\$\.a\[1\] is an integer of more", "text"),
    ({"a": [1, -(10**5000)]}, Any, r"\$\.a\[1\] is an integer of more", "text"),
    # depth
    (nested(240), Any, r"nested deeper than the 200 levels", "flatter"),
    # collections
    ((1, 2), Sequence[int], "is of type tuple and comes back as list", "annotate it as tuple"),
    ((each for each in "ab"), Any, "is a generator that cannot be checked", "plain data"),
]  # fmt: skip


def names(cases):
    return [f"{type(case[0]).__name__}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("value", "annotation", "where", "way_out"), REFUSED, ids=names(REFUSED))
def test_what_would_not_come_back_is_refused_with_its_place_and_the_way_out(
    value, annotation, where, way_out
):
    with pytest.raises(InvalidPayload, match=f"(?s){where}.*{way_out}") as caught:
        encode(value, annotation, what="input of 'Pay'")

    message = str(caught.value)
    assert message.startswith(f"input of 'Pay' of type {type(value).__name__!r} cannot be encoded")
    assert "\n" not in message
    assert "hunter2" not in message
    assert len(message) < 500


ACCEPTED = [
    (Shown(token=SecretStr("a")), Shown),
    (ByCash(amount=1), Annotated[ByCard | ByCash, Field(discriminator="kind")]),
    (ByCash(amount=1), ByCard | ByCash),
    (Derived("abc"), Derived),
    (numbered(0), Numbered),
    (Colour.RED, str),
    (Level.LOW, int),
    (Level.LOW, Any),
    (Rights.READ, Rights),
    (Kind.TEXT, Kind),
    (True, int),
    (0, float),
    ([True, 2], list[int]),
    (defaultdict(int, a=1), dict[str, int]),
    (OrderedDict(a=1), dict[str, int]),
    (Counter("aab"), dict[str, int]),
    (deque([1, 2], maxlen=2), deque[int]),
    (Pair(1, "b"), tuple[int, str]),
    ({Colour.RED: 1}, dict[str, int]),
    ({UUID(int=1): 1}, dict[UUID, int]),
    (Open(name="a", more={"b": [1]}), Open),
    (Anything(data={"a": (1, date(2024, 1, 2))}), Anything),
    (datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), datetime),
    (datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), datetime),
    (datetime(1, 1, 1, tzinfo=UTC), datetime),
    (timedelta.max, timedelta),
    (timedelta.min, timedelta),
    (math.inf, float),
    ({"a": b"text"}, dict[str, bytes]),
    (nested(150), Any),
    (10**4299, int),
]


@pytest.mark.parametrize(("value", "annotation"), ACCEPTED, ids=names(ACCEPTED))
def test_what_the_annotation_promises_comes_back(value, annotation):
    text = encode(value, annotation)
    back = decode(text, annotation)

    assert encode(back, annotation) == text
    if not isinstance(value, Anything | datetime):
        assert back == value


def test_nan_is_itself_though_it_equals_nothing():
    annotation = dict[str, list[float]]

    assert math.isnan(decode(encode({"a": [math.nan]}, annotation), annotation)["a"][0])


def test_what_the_author_left_out_by_name_is_left_out():
    value = LeftOut(name="ada", cache=5)
    value._hits = 7
    assert value.shout == "ADA"

    text = encode(value, LeftOut)

    assert text == '{"name":"ada"}'
    assert decode(text, LeftOut) == LeftOut(name="ada")


def test_sets_have_one_order_in_every_place():
    words = ["e", "d", "c", "b", "a"]

    assert encode(Names(set(words)), Names) == '["a","b","c","d","e"]'
    assert encode([Names(set(words))], list[Names]) == '[["a","b","c","d","e"]]'
    assert encode({"x": (frozenset(words),)}, Any) == '{"x":[["a","b","c","d","e"]]}'
    assert encode(Open(name="a", more=set(words)), Open).endswith('"more":["a","b","c","d","e"]}')


def test_an_object_without_equality_is_compared_by_its_state():
    back = decode(encode(Point(3), Point), Point)

    assert back.x == 3


def test_the_order_of_the_members_decides_what_a_union_is_read_as():
    text = '{"user":"bo"}'

    assert type(decode(text, Approve | Reject)) is Approve
    assert type(decode(text, Reject | Approve)) is Reject
    assert type(decode(f"[{text}]", list[Approve | Reject])[0]) is Approve
    assert type(decode(f"[{text}]", list[Reject | Approve])[0]) is Reject


def test_an_equal_literal_of_another_type_is_another_annotation():
    assert decode("1", Literal[1]) is not True
    assert decode("true", Literal[True]) is True


def test_an_annotation_that_cannot_be_hashed_works():
    annotation = Annotated[int, Field(gt=0, json_schema_extra={"a": []})]

    assert decode(encode(3, annotation), annotation) == 3


def test_without_an_annotation_the_json_reading_comes_back():
    value = {
        "tuple": (1, 2.5, None),
        "set": {"b", "a"},
        "when": datetime(2024, 1, 2, tzinfo=UTC),
        "model": ByCard(amount=1),
        "dataclass": Approve("ada"),
        3: Colour.RED,
        "money": Decimal("1.10"),
    }

    assert decode(encode(value)) == {
        "tuple": [1, 2.5, None],
        "set": ["a", "b"],
        "when": "2024-01-02T00:00:00Z",
        "model": {"kind": "card", "amount": 1},
        "dataclass": {"user": "ada"},
        "3": "red",
        "money": "1.10",
    }


def test_fields_are_compared_whatever_the_equality_of_their_class_says():
    @dataclasses.dataclass(eq=False)
    class Odd:
        x: int

    class Raising(RootModel[int]):
        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    class Agreeing(BaseModel):
        x: Annotated[float, PlainSerializer(round)]

        def __eq__(self, other: object) -> bool:
            return True

    assert decode(encode(Odd(1), Odd), Odd).x == 1
    assert decode(encode(Raising(1), Raising), Raising).root == 1
    with pytest.raises(InvalidPayload, match=r"\$\.x comes back as another float"):
        encode(Agreeing(x=1.5), Agreeing)
