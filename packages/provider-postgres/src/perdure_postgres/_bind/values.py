"""Statements and rows between psycopg's form and that of other drivers.

The statements of this package have the places of psycopg (`%s`, `%(name)s`), and its rows have JSON
as Python's values and `bytea` as `bytes`. An application may have told its driver otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from perdure_postgres._database import Parameters, Row

_PLACE: Final = re.compile(r"%(?:\((?P<name>\w+)\))?[sb]|%%")
_JSON_TYPES: Final = frozenset({114, 3802})
_BYTEA: Final = 17


def numbered(statement: str, parameters: Parameters) -> tuple[str, tuple[object, ...]]:
    """The statement with the places `$1`, `$2`, and its parameters in that order."""
    given: list[object] = []
    by_position = iter(() if isinstance(parameters, Mapping) else parameters)

    def place(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        name = match["name"]
        if name is None:
            given.append(next(by_position))
        else:
            given.append(cast("Mapping[str, object]", parameters)[name])
        return f"${len(given)}"

    text = _PLACE.sub(place, statement)
    # An application may have set a codec of its own for jsonb, which would encode the text again.
    text = re.sub(r"(\$\d+)::jsonb", r"\1::text::jsonb", text)
    return text, tuple(given)


def decoded(rows: Sequence[Sequence[Any]], types: Sequence[int]) -> list[Row]:
    """The rows, with the values that this package expects of these types (OIDs)."""
    json_places = [place for place, type_ in enumerate(types) if type_ in _JSON_TYPES]
    byte_places = [place for place, type_ in enumerate(types) if type_ == _BYTEA]
    return [_decoded(row, json_places, byte_places) for row in rows]


def _decoded(row: Sequence[Any], json_places: list[int], byte_places: list[int]) -> Row:
    values = list(row)
    for place in json_places:
        if isinstance(values[place], str | bytes):
            values[place] = json.loads(values[place])
    for place in byte_places:
        if values[place] is not None:
            values[place] = bytes(values[place])
    return tuple(values)
