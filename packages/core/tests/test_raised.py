"""Exceptions as plain data."""

from __future__ import annotations

from perdure.raised import describe


def raised(error: BaseException) -> BaseException:
    """The exception as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 # whatever the test raises
        return caught


def test_a_trace_names_modules_and_lines_and_no_machine_paths() -> None:
    described = describe(raised(ValueError("no")))

    assert described.type_name == "ValueError"
    assert described.message == "no"
    assert len(described.trace) == 1
    assert described.trace[0].endswith(" raised")
    assert "/" not in described.trace[0]
    assert __file__ in describe(raised(ValueError()), paths=True).trace[0]


def test_a_group_has_its_exceptions_as_causes() -> None:
    group = ExceptionGroup("both", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])
    described = describe(group)

    assert [cause.type_name for cause in described.causes] == ["ValueError", "ExceptionGroup"]
    assert described.causes[1].causes[0].type_name == "KeyError"


def test_a_message_is_cut_where_it_would_be_a_payload() -> None:
    described = describe(RuntimeError("x" * 100_000))

    assert len(described.message) < 33_000
    assert described.message.endswith("… (67232 more characters)")


def test_a_message_that_cannot_be_made_hides_nothing_else() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("odd")

    assert describe(Odd()).type_name == "Odd"
    assert "could not be made" in describe(Odd()).message
