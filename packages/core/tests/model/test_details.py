"""Error details: three categories, plain data, the same after a journey through JSON."""

from datetime import timedelta

import pytest
from perdure.errors import PerdureError
from perdure.model.details import (
    ApplicationFailure,
    Cancelled,
    ConfigurationFailure,
    Corruption,
    InfrastructureFailure,
    Nondeterminism,
    Poisoned,
    Raised,
    Storage,
    Terminated,
    Unregistered,
    details_from_plain,
    details_to_plain,
)
from perdure.model.wire import decode_details, encode_details

FULL = Raised(
    type_name="RetryAfter",
    message="try again after 2 s",
    trace=("m:1 f",),
    bases=("ApplicationError", "PerdureError", "Exception"),
    notes=("seen at noon",),
    data='{"status":429}',
    retry_after=timedelta(seconds=2, microseconds=1),
    causes=(
        Raised(type_name="KeyError", message="'a'"),
        Raised(type_name="OSError", message="gone", relation="cause", retryable=False),
    ),
)
INNER = Raised(type_name="KeyError", message="'a'", trace=("m:1 f",), retryable=False)
CASES = [
    # details, category, retryable, message
    (
        ApplicationFailure(Raised(type_name="ValueError", message="no")),
        "application",
        True,
        "ValueError: no",
    ),
    (
        ApplicationFailure(Raised(type_name="ValueError", message="")),
        "application",
        True,
        "ValueError",
    ),
    (ApplicationFailure(INNER), "application", False, "KeyError: 'a'"),
    (
        ApplicationFailure(
            Raised(type_name="ExceptionGroup", message="two", causes=(INNER, INNER))
        ),
        "application",
        True,
        "ExceptionGroup: two [KeyError: 'a'; KeyError: 'a']",
    ),
    (
        ApplicationFailure(FULL),
        "application",
        True,
        "RetryAfter: try again after 2 s (seen at noon) [KeyError: 'a'], caused by OSError: gone",
    ),
    (ApplicationFailure(Cancelled(reason="enough")), "application", False, "canceled: enough"),
    (ApplicationFailure(Terminated(reason="enough")), "application", False, "terminated: enough"),
    (
        ApplicationFailure(Poisoned(work="activity 'a'", attempts=3)),
        "application",
        False,
        "poison: activity 'a' was leased 3 times without an outcome",
    ),
    (
        ConfigurationFailure(Unregistered(what="orchestration", name="Sum", version="1.0.0")),
        "configuration",
        False,
        "orchestration 'Sum' version 1.0.0 is not registered in any runtime that looked",
    ),
    (
        ConfigurationFailure(Unregistered(what="activity", name="charge")),
        "configuration",
        False,
        "activity 'charge' is not registered in any runtime that looked",
    ),
    (
        ConfigurationFailure(Nondeterminism(message="event 3 differs")),
        "configuration",
        False,
        "nondeterminism: event 3 differs",
    ),
    (
        InfrastructureFailure(Storage(operation="commit_turn", message="disk full")),
        "infrastructure",
        True,
        "storage failed in commit_turn: disk full",
    ),
    (
        InfrastructureFailure(Corruption(message="event 3")),
        "infrastructure",
        False,
        "corrupt: event 3",
    ),
]


@pytest.mark.parametrize(("details", "category", "retryable", "message"), CASES)
def test_details_say_what_where_and_whether_to_try_again(details, category, retryable, message):
    assert details.category() == category
    assert details.is_retryable() is retryable
    assert details.display_message() == message


@pytest.mark.parametrize("details", [case[0] for case in CASES])
def test_details_come_back_as_they_were(details):
    assert details_from_plain(details_to_plain(details)) == details
    assert decode_details(encode_details(details)) == details


def test_every_kind_is_in_the_cases():
    assert {type(case[0].kind) for case in CASES} == {
        Raised,
        Cancelled,
        Poisoned,
        Terminated,
        Unregistered,
        Nondeterminism,
        Storage,
        Corruption,
    }


def test_a_raised_error_shows_its_own_type_and_text():
    raised = ApplicationFailure(Raised(type_name="ValueError", message="no"))
    cancelled = ApplicationFailure(Cancelled(reason="enough"))

    assert (raised.type_name, raised.message) == ("ValueError", "no")
    assert (cancelled.type_name, cancelled.message) == ("Cancelled", "canceled: enough")


def test_a_message_with_surrogates_can_be_stored_and_reads_alike_before_and_after():
    details = ApplicationFailure(
        Raised(type_name="FileNotFoundError", message="a\udcff", trace=("/\udcff:1 f",))
    )

    assert details.kind.message == "a\\udcff"
    assert decode_details(encode_details(details)) == details


def test_a_field_of_a_newer_version_is_passed_over():
    for details, *_ in CASES:
        assert details_from_plain({**details_to_plain(details), "colour": "red"}) == details


def test_a_field_with_a_default_may_be_missing():
    plain = {"category": "configuration", "kind": "unregistered", "what": "activity", "name": "a"}

    assert details_from_plain(plain).kind == Unregistered(what="activity", name="a")


# Written by 0.1.0.
EARLIER = (
    b'{"category":"application","kind":"raised","type_name":"ExceptionGroup","message":"both",'
    b'"trace":["shop:7 pay"],"causes":[{"type_name":"ValueError","message":"no","trace":[],'
    b'"causes":[],"retryable":true}],"retryable":false}'
)


def test_details_of_an_earlier_version_are_read():
    details = decode_details(EARLIER)

    assert details.kind == Raised(
        type_name="ExceptionGroup",
        message="both",
        trace=("shop:7 pay",),
        causes=(Raised(type_name="ValueError", message="no"),),
        retryable=False,
    )
    assert details.display_message() == "ExceptionGroup: both [ValueError: no]"
    assert (details.data, details.retry_after) == (None, None)
    assert details.is_a(ExceptionGroup)
    assert not details.is_a(Exception)


def test_details_have_what_an_earlier_version_reads():
    plain = details_to_plain(ApplicationFailure(FULL))

    assert {"type_name", "message", "trace", "causes", "retryable"} <= plain.keys()


def test_what_was_raised_is_known_by_its_class_or_a_base_or_their_names():
    details = ApplicationFailure(FULL)

    assert details.is_a("RetryAfter")
    assert details.is_a(PerdureError)
    assert not details.is_a(KeyError)
    assert not ApplicationFailure(Cancelled(reason="enough")).is_a("Cancelled")


def test_the_data_of_a_failure_is_decoded_again_for_each_reader():
    details = ApplicationFailure(FULL)
    details.data["status"] = 500

    assert details.data == {"status": 429}


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"category": "application"},
        {"category": "application", "kind": "unknown"},
        {"category": "unknown", "kind": "raised"},
        {"category": "application", "kind": "cancelled"},
        {"category": "application", "kind": "storage", "operation": "a", "message": "b"},
        {
            "category": "application",
            "kind": "raised",
            "type_name": "A",
            "message": "b",
            "causes": [1],
        },
        {"category": "application", "kind": "raised", "type_name": "A", "message": "b", "trace": 1},
        [],
        None,
    ],
)
def test_what_is_no_details_is_a_value_error(plain):
    with pytest.raises(ValueError, match=r"decoded|has no kind"):
        details_from_plain(plain)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'"a"', b"{}", b"\xff"])
def test_bytes_that_are_no_details_are_a_value_error(data):
    with pytest.raises(ValueError, match=r".+"):
        decode_details(data)
