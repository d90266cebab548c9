"""Reading forms, as browsers send them without files: small, and with few fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from perdure.errors import InvalidInput
from starlette.requests import Request

_LARGEST: Final = 4 * 1024 * 1024
"""In bytes; the data of an event may be large."""
_MOST_FIELDS: Final = 1100


class Form:
    """The fields of a form."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def get(self, name: str) -> str:
        """The first value of a field; empty if there is none."""
        return next(iter(self._fields.get(name, ())), "")

    def all(self, name: str) -> Sequence[str]:
        """All values of a field."""
        return self._fields.get(name, ())

    def items(self) -> Sequence[tuple[str, str]]:
        """All fields with their first values."""
        return [(name, values[0]) for name, values in self._fields.items()]


async def read_form(request: Request) -> Form:
    """The form of a request; raises `InvalidInput` for anything else, and for too much of it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput(f"a form of type {kind!r} is not read; send it url-encoded")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise InvalidInput(f"the form has more than {_LARGEST} bytes")
    fields: dict[str, list[str]] = defaultdict(list)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    for name, value in pairs:
        fields[name].append(value)
    return Form(fields)
