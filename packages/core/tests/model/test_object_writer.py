"""What a generated function writes is what pydantic's JSON writer makes of a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st
from perdure.model.object_writer import object_writer
from perdure.model.record import record
from pydantic_core import to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@record
class Order:
    number: int
    hidden: int
    customer: str
    note: str | None = None
    discount: int | None = None
    express: bool = False
    labels: Mapping[str, str] | None = None
    city: str = ""


WRITE = object_writer(Order, without="hidden", other=lambda value: to_json(value).decode())


@given(
    st.builds(
        Order,
        number=NUMBER,
        hidden=NUMBER,
        customer=TEXT,
        note=st.none() | TEXT,
        discount=st.none() | NUMBER,
        express=st.booleans(),
        labels=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
        city=TEXT,
    )
)
def test_a_record_is_written_as_the_dictionary_of_its_fields_without_those_that_are_none(
    order: Order,
) -> None:
    plain: dict[str, object] = {"kind": "Order"}
    plain |= {
        each.name: getattr(order, each.name)
        for each in fields(order)
        if each.name != "hidden" and getattr(order, each.name) is not None
    }

    assert WRITE(order) == to_json(plain)
