"""Records behave as frozen dataclasses do, apart from what refuses a change at run time."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest
from perdure.history import ActivityCompleted, HistoryEvent
from perdure.model.record import record


@record
class Place:
    """A place."""

    name: str
    row: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    comment: str = field(default="", repr=False)


@record
class Seat(Place):
    """A place with a number."""

    number: int


@record
class Nothing:
    """Has no fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPlace:
    """The same as a frozen dataclass."""

    name: str
    row: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    comment: str = field(default="", repr=False)


def test_a_record_equals_records_of_its_class_with_the_same_values() -> None:
    assert Place(name="a") == Place(name="a", row=0)
    assert Place(name="a") != Place(name="b")
    assert Place(name="a") != FrozenPlace(name="a")
    assert Seat(name="a", number=1) == Seat(name="a", number=1)
    assert Seat(name="a", number=1) != Place(name="a")
    assert Nothing() == Nothing()


def test_a_record_is_hashed_by_the_fields_that_a_frozen_dataclass_hashes() -> None:
    values = {"name": "a", "row": 2, "labels": {"x": "y"}}

    assert hash(Place(**values)) == hash(FrozenPlace(**values))  # pyright: ignore[reportArgumentType]
    assert len({Nothing(), Nothing()}) == 1


def test_a_record_shows_itself_as_a_frozen_dataclass_does() -> None:
    shown = repr(Seat(name="a", number=1, comment="s"))

    assert shown == "Seat(name='a', row=0, labels={}, number=1)"
    assert repr(Nothing()) == "Nothing()"


def test_a_record_has_slots_and_the_signature_of_its_fields() -> None:
    signature = inspect.signature(Seat)

    assert not hasattr(Place(name="a"), "__dict__")
    assert list(signature.parameters) == ["name", "row", "labels", "comment", "number"]
    assert all(each.kind is each.KEYWORD_ONLY for each in signature.parameters.values())


def test_a_record_is_copied_pickled_replaced_and_made_a_dictionary() -> None:
    event = ActivityCompleted(event_id=3, at=4, scheduled=2, result="5")

    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) == event
    assert replace(event, result="6").result == "6"
    assert asdict(event) == {
        "event_id": 3,
        "at": 4,
        "scheduled": 2,
        "result": "5",
        "delivery": None,
    }
    assert [each.name for each in fields(HistoryEvent)] == ["event_id", "at"]


def test_a_method_that_the_class_has_itself_stays() -> None:
    @record
    class Hidden:
        value: str

        def __repr__(self) -> str:
            return "Hidden"

    assert repr(Hidden(value="x")) == "Hidden"


def test_a_record_that_is_frozen_at_run_time_refuses_what_a_frozen_dataclass_refuses() -> None:
    @record(frozen=True)
    class Fixed(Place):
        number: int

        def __post_init__(self) -> None:
            object.__setattr__(self, "comment", f"number {self.number}")

    fixed = Fixed(name="a", number=1)

    with pytest.raises(FrozenInstanceError, match="'name'"):
        fixed.name = "b"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(FrozenInstanceError, match="'name'"):
        del fixed.name  # pyright: ignore[reportAttributeAccessIssue]
    assert (fixed.name, fixed.comment) == ("a", "number 1")
    assert copy.deepcopy(fixed) == fixed
    assert replace(fixed, number=2).comment == "number 2"


def test_positional_fields_of_a_record_come_before_those_that_are_keyword_only() -> None:
    @record(kw_only=False)
    class Numbered(Place):
        number: int
        letters: list[str] = field(default_factory=list[str])

    first, second = Numbered(1, name="a"), Numbered(2, ["x"], name="a", row=3)

    assert (first.number, first.letters, first.row) == (1, [], 0)
    assert (second.number, second.letters, second.row) == (2, ["x"], 3)
    assert first.letters is not Numbered(1, name="a").letters
    with pytest.raises(TypeError, match=r"Numbered\.__init__\(\) .*'name'"):
        Numbered(1)  # pyright: ignore[reportCallIssue]


def test_a_record_generates_no_code_before_the_first_one_is_made() -> None:
    @record
    class Unused:
        """Has a field."""

        name: str

    code = {n for n, each in vars(Unused).items() if inspect.isfunction(each)}
    before = vars(Unused)["__init__"]
    made = Unused(name="a")

    # Closures, and what dataclasses have from 3.13 on.
    assert code - {"__replace__"} == {"__eq__", "__hash__", "__repr__"}
    assert not inspect.isfunction(before)
    assert inspect.isfunction(vars(Unused)["__init__"])
    assert made.name == "a"
    assert Unused.__init__.__qualname__.endswith("Unused.__init__")


def test_what_a_frozen_dataclass_refuses_at_run_time_is_left_to_the_type_checker() -> None:
    frozen, place = FrozenPlace(name="a"), Place(name="a")

    with pytest.raises(FrozenInstanceError):
        frozen.name = "b"  # pyright: ignore[reportAttributeAccessIssue]
    place.name = "b"  # pyright: ignore[reportAttributeAccessIssue]

    assert place.name == "b"
