"""Checks of JSON text that the caller passes: it must decode to exactly what it says.

Pydantic decodes stored text. It refuses integers of more than 4,300 digits and nesting deeper than
about 200 levels, turns `1e400` into infinity, and keeps the last of two entries with the same key.
Text that pydantic would refuse or change is refused before it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isinf
from typing import Any

from pydantic_core import from_json

from perdure.encoding.differences import DoesNotRoundTrip, show_steps

_PLACE = re.compile(r" at line (\d+) column (\d+)")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.S)


def check_json(data: bytes) -> None:
    """Raise `DoesNotRoundTrip` for JSON that decodes to something else, ValueError for other text."""
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise unreadable(data, error) or error from None
    # The standard library's decoder passes each number and each entry to a callback.
    import json

    flaw = _Flaw()
    json.loads(data, parse_int=len, parse_float=flaw.number, object_pairs_hook=flaw.entries)
    if flaw.found:
        raise _locate(data)


def unreadable(data: bytes, error: ValueError) -> DoesNotRoundTrip | None:
    """The reason why pydantic refuses JSON text; None if it does not."""
    reason = str(error)
    place = _PLACE.search(reason)
    if place is None:
        return None
    if "number out of range" in reason:
        why = "is an integer of more than 4300 digits, which readers of JSON refuse"
        return DoesNotRoundTrip(_place_at(data, *place.groups()), why, "pass it as a text")
    if "recursion limit" in reason:
        why = "is nested deeper than the 200 levels that readers of JSON allow"
        return DoesNotRoundTrip(_place_at(data, *place.groups()), why, "make it flatter")
    return None


class _Flaw:
    """Records that a number or an entry decodes to something else."""

    def __init__(self) -> None:
        self.found = False

    def number(self, text: str) -> None:
        self.found |= isinf(float(text))

    def entries(self, pairs: list[tuple[str, object]]) -> None:
        self.found |= len(dict(pairs)) != len(pairs)


def _locate(data: bytes) -> DoesNotRoundTrip:
    keys: set[tuple[str | int, ...]] = set()
    for _, steps, token in _tokens(data):
        if token == b":":
            if steps in keys:
                why = "occurs twice in its object, and only the last entry would be read"
                return DoesNotRoundTrip(show_steps(steps), why, "give each key once")
            keys.add(steps)
        elif token[0] in b"-0123456789" and isinf(float(token)):
            why = f"is {token[:20].decode()}, which is read as infinity"
            return DoesNotRoundTrip(show_steps(steps), why, "pass a smaller number, or a text")
    raise AssertionError("a flaw was found and cannot be found again")


def _place_at(data: bytes, line: str, column: str) -> str:
    """The path of the value that ends at this offset of the text."""
    lines = data.split(b"\n")[: int(line) - 1]
    offset = sum(map(len, lines)) + len(lines) + int(column)
    found: tuple[str | int, ...] = ()
    for end, steps, _ in _tokens(data):
        found = steps
        if end >= offset:
            break
    return show_steps(found)


def _tokens(data: bytes) -> Iterator[tuple[int, tuple[str | int, ...], bytes]]:
    """The tokens of valid JSON, each with its end and the path of its value."""
    steps: tuple[Any, ...] = ()
    in_array: list[bool] = []
    text = b""
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in (b"[", b"{"):
            in_array.append(token == b"[")
            steps = (*steps, 0) if in_array[-1] else (*steps, "")
        elif token in (b"]", b"}"):
            in_array.pop()
            steps = steps[:-1]
        elif token == b",":
            steps = (*steps[:-1], int(steps[-1]) + 1) if in_array[-1] else (*steps[:-1], "")
        elif token == b":":
            steps = (*steps[:-1], str(from_json(text)))
        text = token
        yield match.end(), steps, token
