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
    assert asdict(event) == {"event_id": 3, "at": 4, "scheduled": 2, "result": "5"}
    assert [each.name for each in fields(HistoryEvent)] == ["event_id", "at"]


def test_a_method_that_the_class_has_itself_stays() -> None:
    @record
    class Hidden:
        value: str

        def __repr__(self) -> str:
            return "Hidden"

    assert repr(Hidden(value="x")) == "Hidden"


def test_what_a_frozen_dataclass_refuses_at_run_time_is_left_to_the_type_checker() -> None:
    frozen, place = FrozenPlace(name="a"), Place(name="a")

    with pytest.raises(FrozenInstanceError):
        frozen.name = "b"  # pyright: ignore[reportAttributeAccessIssue]
    place.name = "b"  # pyright: ignore[reportAttributeAccessIssue]

    assert place.name == "b"
