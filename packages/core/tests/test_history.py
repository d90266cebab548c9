"""Events: every kind survives its encoding, and what is broken is told."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import history
from perdure.history import (
    INCOMING,
    TERMINAL,
    ActivityScheduled,
    CopiedFrom,
    Event,
    Kept,
    Seed,
    TimerCreated,
    decode_event,
    encode_event,
)
from perdure.model.details import (
    ApplicationFailure,
    Cancelled,
    ConfigurationFailure,
    Corruption,
    ErrorDetails,
    InfrastructureFailure,
    Nondeterminism,
    Poisoned,
    Raised,
    Storage,
    Unregistered,
)
from perdure.records.instances import ParentLink

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(min_value=1, max_value=2**53)
RAISED = st.recursive(
    st.builds(Raised, type_name=TEXT, message=TEXT, retryable=st.booleans()),
    lambda inner: st.builds(
        Raised,
        type_name=TEXT,
        message=TEXT,
        trace=st.lists(TEXT, max_size=2).map(tuple),
        causes=st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=4,
)
DETAILS: st.SearchStrategy[ErrorDetails] = st.one_of(
    st.builds(ApplicationFailure, RAISED),
    st.builds(ApplicationFailure, st.builds(Cancelled, reason=TEXT)),
    st.builds(ApplicationFailure, st.builds(Poisoned, work=TEXT, attempts=NUMBER)),
    st.builds(
        ConfigurationFailure,
        st.builds(Unregistered, what=TEXT, name=TEXT, version=st.none() | TEXT),
    ),
    st.builds(ConfigurationFailure, st.builds(Nondeterminism, message=TEXT)),
    st.builds(InfrastructureFailure, st.builds(Storage, operation=TEXT, message=TEXT)),
    st.builds(InfrastructureFailure, st.builds(Corruption, message=TEXT)),
)
PARENT = st.builds(ParentLink, instance=TEXT, incarnation=TEXT, execution=NUMBER, event=NUMBER)
RECORDS = {
    "copied_from": st.builds(
        CopiedFrom,
        instance=TEXT,
        incarnation=TEXT,
        execution=NUMBER,
        event=NUMBER,
        reason=TEXT,
        requested_at=st.none() | NUMBER,
    ),
    "lineage": st.lists(st.builds(Kept, execution=NUMBER, to_event=NUMBER, at=NUMBER)).map(tuple),
    "seeds": st.lists(
        st.builds(Seed, instance=TEXT, incarnation=TEXT, execution=NUMBER, from_event=NUMBER)
    ).map(tuple),
    "headers": st.dictionaries(TEXT, TEXT),
}
KINDS: list[type[Event]] = [
    kind
    for kind in vars(history).values()
    if isinstance(kind, type)
    and issubclass(kind, history.HistoryEvent)
    and kind is not history.HistoryEvent
]


def of_field(name: str, annotation: str) -> st.SearchStrategy[object]:
    if name == "details":
        return DETAILS
    if name == "parent":
        return st.none() | PARENT
    if name in ("seen", "keys"):
        return st.lists(TEXT, max_size=3).map(tuple)
    if name in RECORDS:
        return st.none() | RECORDS[name]
    if annotation == "bool":
        return st.booleans()
    if "int" in annotation or "Instant" in annotation:
        return NUMBER
    return st.none() | TEXT if "None" in annotation else TEXT


def of_kind(kind: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(
        kind, **{field.name: of_field(field.name, str(field.type)) for field in fields(kind)}
    )


@given(st.one_of([of_kind(kind) for kind in KINDS]))
def test_every_event_survives_its_encoding(event: Event) -> None:
    assert decode_event(event.event_id, encode_event(event)) == event


@given(st.one_of([of_kind(kind) for kind in KINDS]))
def test_every_event_prints_in_one_readable_line(event: Event) -> None:
    line = str(event)

    assert "\n" not in line
    assert event.kind in line
    assert line.lstrip().startswith(str(event.event_id))


def test_an_event_prints_its_day_its_instants_in_words_and_only_what_it_has() -> None:
    week = 7 * 24 * 3600 * 1_000_000
    timer = TimerCreated(event_id=2, at=0, fire_at=week, purpose="sleep")
    activity = ActivityScheduled(event_id=3, at=week, name="pay", input="1", attempt=1)

    assert str(timer) == (
        "   2  1970-01-01 00:00:00.000000"
        "  TimerCreated(fire_at=1970-01-08 00:00:00.000000, purpose='sleep')"
    )
    assert str(activity) == (
        "   3  1970-01-08 00:00:00.000000  ActivityScheduled(name='pay', input='1', attempt=1)"
    )


def test_every_kind_is_incoming_terminal_or_a_command() -> None:
    assert all(is_dataclass(kind) for kind in KINDS)
    assert set(INCOMING) <= set(KINDS)
    assert set(TERMINAL) <= set(KINDS)
    commands = {kind.__name__ for kind in KINDS} - {k.__name__ for k in (*INCOMING, *TERMINAL)}
    assert commands == {
        "ActivityScheduled",
        "TimerCreated",
        "WaitCreated",
        "EventRefused",
        "ChildScheduled",
        "DetachedScheduled",
        "WorkCancelled",
        "PatchApplied",
        "StatusSet",
        "ValueSet",
        "ValueRead",
        "ValuesListed",
        "EventPolled",
        "EventSent",
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"kind":"Unknown","at":1}',
        b'{"kind":"TimerFired"}',
        b'{"kind":"TimerFired","at":1,"scheduled":2,"more":3}',
        b'{"kind":"ActivityFailed","at":1,"scheduled":2,"details":{"category":"none"}}',
        b'{"kind":"ActivityFailed","at":1,"scheduled":2,"details":7}',
        b'{"kind":["TimerFired"],"at":1,"scheduled":2}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_told_with_its_number(data: bytes) -> None:
    with pytest.raises(ValueError, match="event 12 cannot be decoded"):
        decode_event(12, data)
