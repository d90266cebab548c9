"""Payloads: the round trip of values through JSON text, and what is refused before it is stored."""

from __future__ import annotations

import enum
import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from perdure.errors import InvalidPayload, PayloadTooLarge
from perdure.model.payload import LARGEST_PAYLOAD, check_text, decode, encode
from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr, computed_field
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: str


@dataclass
class Point:
    x: float
    tags: list[str] = field(default_factory=list)


class Options(TypedDict):
    depth: int


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")


class TwiceAliased(BaseModel):
    value: int = Field(validation_alias="in", serialization_alias="out")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int = Field(gt=0)

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


class Holding(BaseModel):
    text: Json[list[int]]
    parts: list[Aliased]
    at: datetime


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Measured(BaseModel):
    value: float


PARIS = timezone(timedelta(hours=1))

ROUND_TRIPS = [
    (None, None),
    (None, int | None),
    (0, int),
    (2**70, int),
    (True, bool),
    (1.5, float),
    (math.inf, float),
    (-math.inf, float | None),
    ([math.inf, 1.0], list[float]),
    ({"a": math.inf}, dict[str, float]),
    ("", str),
    ('quotes " and \\ and \u0000 and 🦉', str),
    ("1", int | str),
    (1, int | str),
    (1, int | float),
    (1.0, int | float),
    (b"bytes", bytes),
    (Decimal("1.10"), Decimal),
    (UUID(int=7), UUID),
    (date(2024, 2, 29), date),
    (datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime),
    (datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=PARIS), datetime),
    (datetime(2024, 1, 2, 3, 4, 5, 6), datetime),  # a naive one stays naive
    (timedelta(days=-1, microseconds=1), timedelta),
    (timedelta(days=400, hours=3), timedelta),
    (Colour.RED, Colour),
    ("a", Literal["a", 1]),
    ((1, "a"), tuple[int, str]),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ({1: "a"}, dict[int, str]),
    ({"a": 1}, Mapping[str, int]),
    (Pair(1, "b"), Pair),
    (Point(1.5, ["a"]), Point),
    ([Point(1.0)], list[Point]),
    ({"depth": 3}, Options),
    (Aliased(orderId=3), Aliased),
    (TwiceAliased.model_validate({"in": 4}), TwiceAliased),
    (Strict(side=3), Strict),
    (
        Holding(text="[1]", parts=[Aliased(orderId=1)], at=datetime(2024, 1, 1, tzinfo=UTC)),
        Holding,
    ),
    (Dog(name="Rex"), Cat | Dog),
    ([Cat(lives=9), Dog(name="Rex")], list[Annotated[Cat | Dog, Field(discriminator="kind")]]),
    ({"any": [1, 1.5, "x", None, True, {}]}, Any),
    ({"any": [1]}, object),
    (3, Annotated[int, Field(gt=0)]),
    (complex(1, 2), complex),
]


@pytest.mark.parametrize(("value", "annotation"), ROUND_TRIPS)
def test_a_value_comes_back_as_it_was(value, annotation):
    text = encode(value, annotation)
    back = decode(text, annotation)

    assert back == value
    assert type(back) is type(value)
    assert check_text(text, what="text") == text
    json.loads(text)


def test_nan_comes_back_as_nan_where_the_annotation_says_float():
    assert math.isnan(decode(encode(math.nan, float), float))
    assert math.isnan(decode(encode([math.nan], list[float]), list[float])[0])


def test_naive_and_aware_datetimes_stay_apart():
    aware = datetime(2024, 1, 1, tzinfo=PARIS)

    assert decode(encode(aware, datetime), datetime).utcoffset() == timedelta(hours=1)
    assert decode(encode(aware.replace(tzinfo=None), datetime), datetime).tzinfo is None


REFUSED = [
    (math.nan, Any),
    ({"deep": [math.inf]}, Any),
    (Measured(value=math.nan), Measured),
    (Point(math.inf), Point),
    (None, int),
    ({}, Options),
    ("b", Literal["a"]),
    (Strict.model_construct(side=-1), Strict),
    (Measured.model_construct(value=None), Measured),
    ("5", int),
    (5, str),
    ([1, "a"], list[int]),
    ({"x": 1}, Point),
    (3, None),
    (0, Annotated[int, Field(gt=0)]),
    (b"\xff", bytes),
    (b"\xff", Any),
    ("\udcff", str),
    ("\udcff", Any),
    (object(), Any),
    (object(), object),
    (lambda: None, Any),
    (ValueError("x"), Any),
    (int, Any),
    ({(1, 2): 3}, dict[tuple[int, int], int]),
    (1, "NoSuchName"),
    (1, 7),
]


@pytest.mark.parametrize(("value", "annotation"), REFUSED)
def test_what_would_not_come_back_is_refused_with_its_type(value, annotation):
    with pytest.raises(InvalidPayload, match=repr(type(value).__name__)) as caught:
        encode(value, annotation, what="input of 'Sum'")

    message = str(caught.value)
    assert message.startswith("input of 'Sum' of type")
    assert "\n" not in message
    assert "errors.pydantic.dev" not in message


def test_a_value_that_holds_itself_is_refused():
    circle: list[object] = []
    circle.append(circle)

    with pytest.raises(InvalidPayload):
        encode(circle)
    with pytest.raises(InvalidPayload):
        encode(circle, list[object])


def test_words_that_look_like_no_number_are_only_text():
    assert decode(encode("NaN")) == "NaN"
    assert decode(encode({"Infinity": ["-Infinity"]})) == {"Infinity": ["-Infinity"]}


def test_a_model_is_read_from_text_by_name_and_by_alias():
    assert decode('{"orderId": 3}', Aliased) == decode('{"order_id": 3}', Aliased)


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("{", Any),
        ("", int),
        ('"a"', int),
        ("null", int),
        ("[1", list[int]),
        ("1", "NoSuchName"),
        ("1", 7),
    ],
)
def test_text_that_does_not_fit_is_refused_without_the_text(text, annotation):
    with pytest.raises(InvalidPayload) as caught:
        decode(text, annotation, what="output")

    assert str(caught.value).startswith("output does not fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "annotation",
    [int, Literal["a"], Cat, bool, datetime, UUID, Decimal, list[int], dict[str, int], Pet],
)
def test_a_value_that_does_not_fit_is_in_no_message_and_no_trace(annotation):
    for text in ('"hunter2"', '{"kind": "hunter2"}', '["hunter2"]', '{"a": "hunter2"}'):
        try:
            decode(text, annotation)
        except InvalidPayload as error:
            told = "".join(traceback.format_exception(error))
            assert "hunter2" not in told  # what fits is no error


def test_a_long_text_is_cut_in_messages():
    with pytest.raises(InvalidPayload) as caught:
        check_text("x" * 100_000, what="data")
    assert len(str(caught.value)) < 300


def test_payloads_are_limited_in_bytes_not_in_characters():
    with pytest.raises(PayloadTooLarge, match=f"{LARGEST_PAYLOAD + 1} bytes"):
        encode("x" * (LARGEST_PAYLOAD - 1), what="value")
    with pytest.raises(PayloadTooLarge):
        encode("ü" * (LARGEST_PAYLOAD // 2), str)
    with pytest.raises(PayloadTooLarge):
        check_text('"' + "ü" * (LARGEST_PAYLOAD // 2) + '"', what="data")

    assert len(encode("x" * (LARGEST_PAYLOAD - 2))) == LARGEST_PAYLOAD


def test_no_text_is_null():
    assert check_text(None, what="data") == "null"
    assert encode(None) == "null"


@pytest.mark.parametrize(
    "text",
    ["", " ", "hello", "{", "[1,]", "'a'", "NaN", "-Infinity", "[NaN]", "1 2", '"\\ud800"', "True"],
)
def test_what_is_not_json_is_refused_with_the_text(text):
    with pytest.raises(InvalidPayload, match=r"^data .* is not JSON"):
        check_text(text, what="data")


@pytest.mark.parametrize("value", [b"null", 1, {"a": 1}, ["null"]])
def test_values_are_no_text(value):
    with pytest.raises(InvalidPayload, match=r"make it a text with json\.dumps"):
        check_text(value, what="data")


class Tagged(BaseModel):
    tags: set[str]


STORED = [
    ('{"tags":["b","a"]}', Tagged, Tagged(tags={"a", "b"})),
    ('{"side":3,"area":9}', Any, {"side": 3, "area": 9}),
    ('"**********"', SecretStr, SecretStr("**********")),
    ('{"user":"u","user":"v"}', Any, {"user": "v"}),
    ('"Infinity"', float, math.inf),
    ("1e400", float, math.inf),
    ("1e400", Any, math.inf),
    ('"1890-01-01T00:00:00+00:53"', str, "1890-01-01T00:00:00+00:53"),
    ('{"1":"b"}', dict[int | str, str], {"1": "b"}),
    ("[1,2]", tuple[int, int], (1, 2)),
]


@pytest.mark.parametrize(("text", "annotation", "value"), STORED)
def test_what_was_stored_when_less_was_checked_can_still_be_read(text, annotation, value):
    assert decode(text, annotation) == value


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(InvalidPayload):
        check_text("[" * 100_000 + "]" * 100_000, what="data")
    with pytest.raises(InvalidPayload):
        decode("[" * 100_000 + "]" * 100_000)
