"""The rule for ids and names, and the ids that core makes itself."""

import pytest
from perdure.errors import InvalidIdentifier
from perdure.model.identifiers import (
    LONGEST_IDENTIFIER,
    check_identifier,
    child_incarnation,
    child_instance,
)


@pytest.mark.parametrize(
    "value",
    [
        "a",
        " ",
        "x" * 512,
        "ü" * 256,
        "🦉" * 128,
        "a#b",
        "a/b",
        "a'b",
        'a"b',
        "a::1.2",
        "日本",
        "\u2028",
    ],
)
def test_up_to_512_bytes_of_any_text_are_kept_as_they_are(value):
    assert check_identifier(value, "instance id") == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        ("x" * 513, "has 513 bytes"),
        ("ü" * 257, "has 514 bytes"),
        ("a\nb", r"control character '\\n'"),
        ("\x00", r"control character '\\x00'"),
        ("\x7f", r"control character '\\x7f'"),
        ("\x85", r"control character '\\x85'"),
        ("\ud800", "surrogates"),
        (b"a", "is not a string"),
        (None, "is not a string"),
    ],
)
def test_what_breaks_the_rule_is_refused_with_the_rule(value, why):
    with pytest.raises(InvalidIdentifier, match=f"^event name .*{why}"):
        check_identifier(value, "event name")


def test_a_long_value_is_not_repeated_in_full():
    with pytest.raises(InvalidIdentifier) as caught:
        check_identifier("x" * 1_000_000, "event name")

    assert len(str(caught.value)) < 200


def test_a_child_s_id_tells_its_parent_and_place():
    assert child_instance("order", 2, 7) == "order::2.7"


def test_children_of_long_parents_have_ids_within_the_rule_that_differ():
    parents = ["x" * 512, "x" * 511 + "y", "ü" * 256, "x" * 505]
    children = {child_instance(parent, 1, 5) for parent in parents}
    deeper = {child_instance(child, 10**6, 10**6) for child in children}

    assert len(children) == len(deeper) == 4
    for child in children | deeper:
        assert len(check_identifier(child, "instance id").encode()) <= LONGEST_IDENTIFIER


def test_the_longest_parent_that_fits_is_kept_in_full():
    parent = "x" * (512 - len("::1.5"))

    assert child_instance(parent, 1, 5) == parent + "::1.5"
    assert child_instance(parent + "x", 1, 5) != parent + "x::1.5"


def test_a_child_s_incarnation_is_the_same_each_time_and_its_own():
    places = [
        (parent, execution, event) for parent in "ab" for execution in (1, 11) for event in (1, 11)
    ]
    made = {child_incarnation(*place) for place in places}

    assert len(made) == len(places)
    assert made == {child_incarnation(*place) for place in places}
