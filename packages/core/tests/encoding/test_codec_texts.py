"""JSON text that comes ready made: what would be read otherwise is refused with its place."""

from __future__ import annotations

import pytest
from perdure.errors import InvalidPayload
from perdure.model.payload import check_text

BIG = "1" * 5000


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1e400", r"\$ is 1e400, which is read as infinity"),
        ("[1, -1E+999]", r"\$\[1\] is -1E\+999"),
        ('{"a": {"b": [0, 1e400]}}', r"\$\.a\.b\[1\] is 1e400"),
        (f"{'9' * 400}.5", r"\$ is 99999999999999999999, which"),
        ('{"a": 1, "a": 2}', r"\$\.a occurs twice in its object"),
        ('[{}, {"x y": {"b": 1, "c": 2, "b": 3}}]', r"\$\[1\]\['x y'\]\.b occurs twice"),
        ('{"a": 1, "\\u0061": 2}', r"\$\.a occurs twice"),
        (BIG, r"\$ is an integer of more than 4300 digits"),
        (f'{{"a": "é",\n "b": [1, {BIG}]}}', r"\$\.b\[1\] is an integer of more"),
        (
            '{"a":' + "[" * 240 + "]" * 240 + "}",
            r"\$\.a\[0\]\[0\].*… is nested deeper than the 200",
        ),
    ],
)
def test_text_that_would_be_read_otherwise_is_refused(text: str, where: str) -> None:
    with pytest.raises(
        InvalidPayload, match=rf"^data of event 'Paid' .* cannot be stored: {where}"
    ):
        check_text(text, what="data of event 'Paid'")


@pytest.mark.parametrize(
    "text",
    [
        "1e308",
        '"1e400"',
        '{"1e400": "\\" , \\" 1e400"}',
        '[{"a": 1}, {"a": 2}]',
        '{"a": {"a": 1}, "b": {"a": 1}}',
        '{"a": "a", "b": "a:a,a"}',
        "-" + "1" * 4299,
        "[]",
        " { } ",
        '"é"',
        "0.1e-999",
    ],
)
def test_other_text_is_stored_as_it_is(text: str) -> None:
    assert check_text(text, what="data") is text
