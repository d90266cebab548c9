"""The page of records: every field of every record that core and a provider hand to each other.

    python -m perdure_conformance records

It is made from the classes themselves, so it never says anything else than they do.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import perdure.contract
from perdure.model.record import docs_of_fields

HEAD = """\
# The records

This page has every field of every record of `perdure.contract`, with its type and its default.
`python -m perdure_conformance records` prints it, and `help(perdure.contract.TurnCommit)` shows the same of one record.
A field without a default is given always.
"""


def records() -> Iterator[type]:
    """The records of the contract, by name."""
    for name in perdure.contract.__all__:
        found: object = getattr(perdure.contract, name)
        if isinstance(found, type) and is_dataclass(found):
            yield found


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *(section(record) for record in records())])


def section(record: type) -> str:
    """A record: its docstring, and a table of its fields."""
    docs = {
        name: text
        for owner in reversed(record.__mro__)
        if is_dataclass(owner)
        for name, text in docs_of_fields(owner).items()
    }
    lines = [f"## {record.__name__}", "", sentences(inspect.getdoc(record) or ""), ""]
    lines += ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{each.name}` | `{type_of(each)}` | {default_of(each)} | {cell(docs.get(each.name, ''))} |"
        for each in fields(record)
    ]
    return "\n".join(lines) + "\n"


def sentences(text: str) -> str:
    """A docstring with a line for each sentence."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(re.sub(r"\. (?=[A-Z`])", ".\n", each) for each in paragraphs)


def type_of(field: Field[Any]) -> str:
    """The type of a field, as its class says it."""
    return str(field.type).replace("|", "\\|")


def default_of(field: Field[Any]) -> str:
    """The default of a field, or nothing."""
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not MISSING:
        return f"`{field.default_factory()!r}`"
    return ""


def cell(text: str) -> str:
    """A docstring in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
