"""The checks of the contract's clauses, as data: a module for each family or part of one."""

from __future__ import annotations

from types import ModuleType

from perdure_conformance.check import Check
from perdure_conformance.clauses import (
    activity_leases,
    calls,
    commit_conditions,
    commit_effects,
    creation,
    durability,
    durations,
    failed_commits,
    failed_leases,
    histories,
    mailboxes,
    management,
    model_and_races,
    turn_leases,
    waiting,
)

_MODULES: tuple[ModuleType, ...] = (
    calls,
    failed_leases,
    durations,
    creation,
    mailboxes,
    turn_leases,
    histories,
    commit_conditions,
    commit_effects,
    failed_commits,
    activity_leases,
    waiting,
    management,
    durability,
    model_and_races,
)

CLAUSES: tuple[Check, ...] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)
)
"""A check for every clause, in the order of the contract."""
