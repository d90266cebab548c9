"""Calls as the lines of a program that can be run, so that a disagreement can be met again.

program = Program()
program.call("p1", request)
print(program.text())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import cast

from perdure_conformance.comparison.callers import LEASE, LIMIT, SERVES
from perdure_conformance.comparison.requests import (
    ActivityRenewal,
    Deletion,
    EarlyDeletion,
    NamespaceDeletion,
    Pruning,
    Request,
    TurnRenewal,
    method_of,
)

HEAD = """\
import asyncio
from contextlib import suppress
from datetime import timedelta

from perdure.contract import *
from perdure.errors import PerdureError
from perdure_conformance.comparison.callers import LEASE, LIMIT, SERVES


async def program(bench):  # run it in `async with perdure_conformance.bench.open_bench(backend)`
    p1 = bench.provider
"""


class Program:
    """The lines of a program."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def call(self, provider: str, request: Request) -> None:
        """Add a call through a provider object."""
        self.lines.append(f"await {call_of(provider, request)}")

    def refused(self) -> None:
        """Say that the last call is refused, as it has to be."""
        self.lines[-1:] = ["with suppress(PerdureError):", f"    {self.lines[-1]}"]

    def calls_at_once(self, *calls: tuple[str, Request]) -> None:
        """Add calls that overlap."""
        made = "".join(f"    {call_of(provider, request)},\n" for provider, request in calls)
        self.lines += [
            "await asyncio.gather(",
            *made.splitlines(),
            "    return_exceptions=True,",
            ")",
        ]

    def open(self, name: str, *, abandoned: bool) -> None:
        """Add the opening of a provider object."""
        remark = "  # the others are abandoned" if abandoned else ""
        self.lines.append(f"{name} = await bench.open(){remark}")

    def advance(self, seconds: float) -> None:
        """Add a step of the clock."""
        self.lines.append(f"bench.advance(timedelta(seconds={seconds:g}))")

    def text(self) -> str:
        """The whole program."""
        return HEAD + "\n".join(f"    {line}" for line in self.lines)


def call_of(provider: str, request: Request) -> str:
    """The call as an expression."""
    return f"{provider}.{method_of(request)}({', '.join(_arguments(request))})"


def _arguments(request: Request) -> Sequence[str]:
    match request:
        case TurnRenewal() | ActivityRenewal():
            return expression(request.leases), f"lease_for={expression(request.lease_for)}"
        case Deletion():
            return repr(request.instance), f"incarnation={request.incarnation!r}"
        case Pruning():
            return (
                repr(request.instance),
                f"incarnation={request.incarnation!r}",
                f"before={request.before}",
            )
        case EarlyDeletion():
            since = f"arrived_before={request.arrived_before!r}"
            return repr(request.instance), since, "limit=1000"
        case NamespaceDeletion():
            return ()
        case _:
            return (expression(request),)


def expression(value: object) -> str:
    """An expression for a value; fields that have their default are left out."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    # What callers give alike has a name in the program.
    if value == SERVES:
        return "SERVES"
    if value == LEASE:
        return "LEASE"
    if isinstance(value, timedelta):
        return f"timedelta(seconds={value.total_seconds():g})"
    if isinstance(value, tuple):
        each = [expression(one) for one in cast("tuple[object, ...]", value)]
        return f"({', '.join(each)}{',' if len(each) == 1 else ''})"
    if isinstance(value, frozenset):
        found = sorted(map(expression, cast("frozenset[object]", value)))
        return f"frozenset({{{', '.join(found)}}})" if found else "frozenset()"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return f"{{{', '.join(f'{expression(key)}: {expression(each)}' for key, each in pairs)}}}"
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    given = [
        f"{each.name}={_field(each, getattr(value, each.name))}"
        for each in fields(value)
        if not _is_default(each, getattr(value, each.name))
    ]
    return f"{type(value).__name__}({', '.join(given)})"


def _field(field: Field[object], value: object) -> str:
    return "LIMIT" if field.name == "limit" and value == LIMIT else expression(value)


def _is_default(field: Field[object], value: object) -> bool:
    if field.default_factory is not MISSING:
        return field.default_factory() == value
    return field.default is not MISSING and field.default == value
