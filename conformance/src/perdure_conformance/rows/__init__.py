"""The rows of `docs/explain/cases.md`: what users are promised, shown through the real runtime.

- `stage`: the runtimes, client and clock that a row plays with; `line`, `clocks`: how they are
  disturbed
- the other modules: the rows, by subject
"""

from __future__ import annotations

from types import ModuleType

from perdure_conformance.check import Check
from perdure_conformance.rows import (
    cancelling,
    children,
    continuing,
    damaging,
    deploying,
    events,
    failing,
    killing,
    leasing,
    outcomes,
    poison,
    racing,
    repeating,
    starting,
    timing,
)

_MODULES: tuple[ModuleType, ...] = (
    events,
    starting,
    cancelling,
    continuing,
    children,
    racing,
    leasing,
    poison,
    damaging,
    timing,
    deploying,
    failing,
    outcomes,
    repeating,
    killing,
)


def _place(row: Check) -> tuple[int, str]:
    number = row.id.rpartition("-")[2]
    digits = number.rstrip("abcdefgh")
    return int(digits), number[len(digits) :]


ROWS: tuple[Check, ...] = tuple(
    sorted(
        (
            value
            for module in _MODULES
            for value in vars(module).values()
            if isinstance(value, Check)
        ),
        key=_place,
    )
)
"""A check for every row, in their order."""
