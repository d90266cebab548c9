"""All checks, as data: one module per family of clauses."""

from __future__ import annotations

from types import ModuleType

from perdure_conformance.check import Check
from perdure_conformance.checks import (
    activities,
    administration,
    calls,
    commits,
    creating,
    effects,
    failing,
    failing_looks,
    histories,
    lasting,
    leases,
    lengths,
    mailboxes,
    together,
    waiting,
)

_MODULES: tuple[ModuleType, ...] = (
    calls,
    failing_looks,
    lengths,
    creating,
    mailboxes,
    leases,
    histories,
    commits,
    effects,
    failing,
    activities,
    waiting,
    administration,
    lasting,
    together,
)

CHECKS: tuple[Check, ...] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)
)
"""Every check of the suite, in the order of the contract."""
