"""Exceptions as plain data: described whatever they are, bounded, and readable ever after."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import ActivityFailed, ApplicationError, NonRetryable, RetryAfter
from perdure.diagnostics.failures import describe
from perdure.errors import InvalidPayload, SubOrchestrationFailed
from perdure.model.details import (
    ApplicationFailure,
    ConfigurationFailure,
    Corruption,
    ErrorDetails,
    InfrastructureFailure,
    Poisoned,
    Raised,
    Unregistered,
)
from perdure.model.payload import decode
from perdure.model.wire import decode_details, encode_details


def raised(error: BaseException) -> BaseException:
    """The exception as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 # whatever the test raises
        return caught


def chained(outer: BaseException, inner: BaseException, *, explicit: bool) -> BaseException:
    """`outer` raised from `inner`, or while `inner` is handled."""
    try:
        try:
            raise inner
        except BaseException as caught:
            if explicit:
                raise outer from caught
            raise outer  # noqa: B904 # what is tested
    except BaseException as caught:  # noqa: BLE001 # whatever the test raises
        return caught


def exceptions_of(described: Raised) -> int:
    return 1 + sum(map(exceptions_of, described.causes))


def depth_of(described: Raised) -> int:
    return 1 + max(map(depth_of, described.causes), default=0)


def message_of(described: Raised) -> str:
    return ApplicationFailure(described).display_message()


@pytest.mark.parametrize(
    "details",
    [
        ConfigurationFailure(Unregistered(what="activity", name="charge")),
        ApplicationFailure(Poisoned(work="activity 'charge'", attempts=7)),
        InfrastructureFailure(Corruption(message="no JSON")),
    ],
)
def test_what_failed_without_having_raised_is_among_the_causes(details: ErrorDetails) -> None:
    (cause,) = describe(raised(ActivityFailed("charge", details))).causes

    assert (cause.type_name, cause.message) == (details.type_name, details.display_message())


def test_a_trace_names_modules_and_lines_and_no_machine_paths() -> None:
    described = describe(raised(ValueError("no")))

    assert described.type_name == "ValueError"
    assert described.message == "no"
    assert len(described.trace) == 1
    assert described.trace[0].endswith(" raised")
    assert "/" not in described.trace[0]
    assert __file__ in describe(raised(ValueError()), paths=True).trace[0]


def test_the_names_of_the_base_classes_come_along() -> None:
    described = describe(FileNotFoundError("gone"))

    assert described.bases == ("OSError", "Exception", "BaseException")
    assert described.is_a(OSError)
    assert described.is_a("FileNotFoundError")
    assert not described.is_a(ValueError)


def test_a_group_has_its_exceptions_as_causes() -> None:
    group = ExceptionGroup("both", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])
    described = describe(group)

    assert [cause.type_name for cause in described.causes] == ["ValueError", "ExceptionGroup"]
    assert described.causes[1].causes[0].type_name == "KeyError"
    assert {cause.relation for cause in described.causes} == {""}


def test_the_cause_of_an_exception_comes_along_with_its_own_trace() -> None:
    described = describe(chained(ValueError("outer"), KeyError("inner"), explicit=True))

    (cause,) = described.causes
    assert (cause.type_name, cause.relation) == ("KeyError", "cause")
    assert cause.trace[-1].endswith(" chained")
    assert message_of(described) == "ValueError: outer, caused by KeyError: 'inner'"


def test_what_was_handled_comes_along_unless_it_is_suppressed() -> None:
    error = chained(ValueError("outer"), KeyError("inner"), explicit=False)
    described = describe(error)

    assert [cause.relation for cause in described.causes] == ["context"]
    assert message_of(described) == "ValueError: outer, raised while handling KeyError: 'inner'"

    error.__suppress_context__ = True
    assert describe(error).causes == ()


def test_a_group_with_a_cause_has_both() -> None:
    group = ExceptionGroup("both", [ValueError("a"), ValueError("b")])
    described = describe(chained(group, KeyError("c"), explicit=True))

    assert [cause.relation for cause in described.causes] == ["", "", "cause"]
    assert message_of(described) == (
        "ExceptionGroup: both (2 sub-exceptions) [ValueError: a; ValueError: b],"
        " caused by KeyError: 'c'"
    )


def test_notes_come_along() -> None:
    error = ValueError("no")
    error.add_note("seen at noon")
    error.add_note("and at night")

    assert describe(error).notes == ("seen at noon", "and at night")
    assert message_of(describe(error)) == "ValueError: no (seen at noon; and at night)"


def test_the_error_of_failed_work_has_what_the_work_raised_as_its_cause() -> None:
    root = describe(chained(ValueError("outer"), KeyError("inner"), explicit=True))
    activity = ActivityFailed("charge", ApplicationFailure(root))
    child = SubOrchestrationFailed("i", "pay", ApplicationFailure(describe(activity)))
    described = describe(child)

    chain = [described.causes[0], described.causes[0].causes[0]]
    assert [cause.type_name for cause in chain] == ["ActivityFailed", "ValueError"]
    assert chain[1].causes == root.causes
    assert chain[1].trace == root.trace
    # Each is named once, though each error tells of the one below.
    assert message_of(described) == (
        "SubOrchestrationFailed: sub-orchestration 'pay' ('i') failed: ActivityFailed: activity"
        " 'charge' failed: ValueError: outer, caused by KeyError: 'inner'"
    )


def test_what_an_application_error_says_comes_along() -> None:
    busy = describe(RetryAfter(2.5, details={"status": 429}))
    never = describe(NonRetryable("no such card", details=["card", 7]))

    assert busy.retry_after == timedelta(seconds=2.5)
    assert busy.message == "try again after 2.5 s"
    assert busy.retryable
    assert ApplicationFailure(busy).data == {"status": 429}
    assert not never.retryable
    assert ApplicationFailure(never).data == ["card", 7]


def test_a_class_derived_from_an_application_error_needs_not_call_its_constructor() -> None:
    class Own(NonRetryable):
        def __init__(self) -> None:
            Exception.__init__(self, "own")

    described = describe(Own())

    assert (described.message, described.data, described.retryable) == ("own", None, False)
    assert described.is_a(ApplicationError)


def test_the_payload_that_did_not_fit_stays_out_of_the_causes() -> None:
    with pytest.raises(InvalidPayload) as caught:
        decode('{"card": "4111 1111 1111 1111 and many more digits of a long number"}', int)

    assert describe(caught.value).causes == ()


# What cannot be had, and what has no end


class Metaclass(type):
    """Hides the name of its classes."""

    @property
    def __name__(cls) -> str:
        raise SystemExit("no name")


class Nameless(Exception, metaclass=Metaclass):
    """Refuses whatever it is asked for."""

    def __str__(self) -> str:
        raise SystemExit("no text")

    def __getattribute__(self, name: str) -> object:
        raise KeyboardInterrupt(name)


class Texts(str):
    """A text that is none when it is touched."""

    __slots__ = ()

    def __len__(self) -> int:
        raise SystemExit("no length")

    def encode(self, *_: object, **__: object) -> bytes:
        raise SystemExit("no bytes")


class OddText(Exception):
    """Its text is of an odd class."""

    def __str__(self) -> str:
        return Texts("odd")


class NoText(Exception):
    """Its text is no text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value] # what is tested


class EndlessText(Exception):
    """Its text asks for itself."""

    def __str__(self) -> str:
        return str(self)


class OddGroup(ExceptionGroup[Exception]):
    """Hides its members."""

    @property
    def exceptions(self) -> tuple[Exception, ...]:  # type: ignore[override] # what is tested
        raise GeneratorExit


def with_notes(notes: object) -> BaseException:
    error = ValueError("noted")
    error.__notes__ = notes  # type: ignore[assignment] # what is tested
    return error


def in_a_circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def nested(levels: int) -> BaseException:
    error: Exception = ValueError("innermost")
    for _ in range(levels):
        error = ExceptionGroup("group", [error])
    return error


def in_a_row(length: int) -> BaseException:
    error: BaseException = ValueError("innermost")
    for number in range(length):
        outer = ValueError(f"{number}")
        outer.__context__ = error
        error = outer
    return error


def from_a_module(name: object) -> BaseException:
    try:
        exec("raise ValueError('generated')", {"__name__": name})  # noqa: S102 # our own code
    except ValueError as error:
        return error


ODD = {
    "nameless": Nameless(),
    "odd text": OddText(),
    "no text": NoText(),
    "endless text": EndlessText(),
    "odd group": OddGroup("odd", [ValueError("member")]),
    "notes that are a number": with_notes(7),
    "notes that are numbers": with_notes([7, None]),
    "many long notes": with_notes(["x" * 100_000] * 1000),
    "surrogates": OSError("a\udcff", "\ud800"),
    "a module with surrogates": from_a_module("\udcff"),
    "a module without a name": from_a_module(Nameless()),
    "a name without end": type("N" * 100_000, (Exception,), {})(),
    "NUL and quotes": ValueError("\x00\"'\\\u2028"),
    "a huge text": RuntimeError("\U0001f600" * 1_000_000),
    "a huge text of surrogates": RuntimeError("\udcff" * 1_000_000),
    "a circle": in_a_circle(),
    "groups without end": nested(5_000),
    "contexts without end": in_a_row(5_000),
    "a wide group": ExceptionGroup("wide", [RuntimeError("x" * 100_000)] * 2_000),
    "a stop": StopIteration(7),
    "an exit": SystemExit(3),
    "an interrupt": KeyboardInterrupt(),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_raised_can_be_described_and_read_back(name: str) -> None:
    details = ApplicationFailure(describe(raised(ODD[name])))

    stored = encode_details(details)
    assert decode_details(stored) == details
    assert details.display_message()
    assert len(stored) < 700_000
    assert exceptions_of(details.kind) <= 32
    assert depth_of(details.kind) <= 13


@pytest.mark.parametrize("name", ["groups without end", "contexts without end", "a wide group"])
def test_what_there_is_no_room_for_is_said(name: str) -> None:
    described = describe(ODD[name])
    while described.causes:
        if any("is left out" in note for note in described.notes):
            break
        described = described.causes[0]

    assert any("is left out" in note for note in described.notes)


def test_what_failed_at_every_step_of_many_is_bounded() -> None:
    details = ApplicationFailure(Raised(type_name="ValueError", message="x" * 10_000))
    for number in range(50):
        details = ApplicationFailure(describe(SubOrchestrationFailed(f"i{number}", "o", details)))

    assert depth_of(details.kind) <= 13
    assert len(encode_details(details)) < 200_000


TEXTS = st.text(max_size=30) | st.text(st.characters(categories=("Cs", "Cc")), max_size=30)


def _with_origin(parts: tuple[Exception, Exception, bool, str]) -> Exception:
    error, origin, explicit, note = parts
    error.add_note(note)
    if explicit:
        error.__cause__ = origin
    else:
        error.__context__ = origin
    return error


EXCEPTIONS = st.recursive(
    TEXTS.map(ValueError),
    lambda inner: (
        st.builds(ExceptionGroup, TEXTS, st.lists(inner, min_size=1, max_size=12))
        | st.tuples(TEXTS.map(KeyError), inner, st.booleans(), TEXTS).map(_with_origin)
        | inner.map(lambda error: ActivityFailed("act", ApplicationFailure(describe(error))))
    ),
    max_leaves=60,
)


@pytest.mark.slow
@given(EXCEPTIONS)
def test_any_tree_of_exceptions_comes_back_as_it_was_described(error: Exception) -> None:
    details = ApplicationFailure(describe(error))

    assert decode_details(encode_details(details)) == details
    assert details.display_message()
    assert exceptions_of(details.kind) <= 32
    assert depth_of(details.kind) <= 13


def test_a_message_is_cut_where_it_would_be_a_payload() -> None:
    described = describe(RuntimeError("x" * 100_000))

    assert len(described.message) < 33_000
    assert described.message.endswith("… (67232 more characters)")


def test_a_message_that_cannot_be_made_hides_nothing_else() -> None:
    assert describe(Nameless()).type_name == "Nameless"
    assert "could not be made" in describe(Nameless()).message
    assert describe(OddText()).message == "odd"
    assert describe(ODD["odd group"]).causes[0].message == "member"
    assert describe(ODD["a circle"]).causes[0].causes == ()
