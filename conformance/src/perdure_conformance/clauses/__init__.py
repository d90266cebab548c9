"""The checks of the contract's clauses, as data: a module for each family or part of one."""

from __future__ import annotations

from types import ModuleType

from perdure_conformance.check import Check
from perdure_conformance.clauses import (
    activity_completions,
    activity_leases,
    activity_releases,
    calls,
    cancelled_commits,
    cancelled_returns,
    closing,
    commit_conditions,
    commit_effects,
    commit_races,
    commit_state,
    contradictions,
    creation,
    crowds,
    deletion,
    deletion_faults,
    deliveries,
    durability,
    durations,
    failed_commits,
    failed_leases,
    histories,
    listing,
    looks_beside_calls,
    mailboxes,
    management,
    model_and_races,
    oldest_waiting,
    payloads,
    races,
    reopened_storage,
    reopening,
    reopening_faults,
    replacements,
    separation,
    shared_waits,
    storage_errors,
    terminations,
    texts,
    told_states,
    transactions,
    turn_leases,
    turn_releases,
    unregistered_work,
    values,
    waiting,
    waking,
)

_MODULES: tuple[ModuleType, ...] = (
    calls,
    separation,
    texts,
    payloads,
    failed_leases,
    closing,
    durations,
    storage_errors,
    looks_beside_calls,
    creation,
    mailboxes,
    deliveries,
    turn_leases,
    turn_releases,
    crowds,
    cancelled_returns,
    unregistered_work,
    histories,
    commit_conditions,
    commit_effects,
    commit_state,
    cancelled_commits,
    commit_races,
    contradictions,
    failed_commits,
    activity_leases,
    activity_completions,
    activity_releases,
    waiting,
    waking,
    told_states,
    reopening,
    reopening_faults,
    terminations,
    deletion,
    replacements,
    deletion_faults,
    values,
    transactions,
    management,
    oldest_waiting,
    listing,
    reopened_storage,
    durability,
    shared_waits,
    model_and_races,
    races,
)

FAMILIES = (
    "CALL",
    "CREATE",
    "MAIL",
    "LEASE",
    "HIST",
    "READ",
    "COMMIT",
    "ACT",
    "WAIT",
    "RECOVER",
    "DELETE",
    "VALUES",
    "TRANSACT",
    "ADMIN",
    "LIST",
    "DURABLE",
    "SHARED",
    "MODEL",
    "RACE",
)
"""The families of clauses, in the order of the contract."""


def _place(clause: Check) -> tuple[int, int]:
    return FAMILIES.index(clause.family), int(clause.id.rpartition("-")[2])


CLAUSES: tuple[Check, ...] = tuple(
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
"""A check for every clause, in the order of the contract."""
