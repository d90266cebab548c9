"""The conformance suite for storage providers of Perdure.

Checks:

- `check`: what a check is
- `clauses`: a check for every clause of the contract
- `scenarios`: a check for everything that users are promised, on the real runtime
- `catalogue`: all checks
- `model`: a small provider that keeps every clause, and a start for authors
- `comparison`: calls at random, whose answers must be those of the model (MODEL-1)
- `workers`: a program that runs on the provider alone, for races and killed processes
- `crashes`: runtimes in processes that are killed; `processes`: other programs that are
- `faults`: a plugin that makes any provider unreliable

What checks work with:

- `backend`: a storage that provider objects are opened on
- `bench`: provider objects, a clock and short calls, for each check
- `samples`: records with the usual fields
- `expect`: what a check raises
- `tampering`: ways to the storage past the provider
- `inspection`, `history_rules`: whether histories are as they must be

Runs:

- `preflight`: whether a storage can be tested at all
- `runner`, `verdict`, `report`, `provider_table`: from checks to a verdict and its documents
- `command`, `captured_logs`: the command line
- `suite`, `plugin`: the checks as tests
- `bound_clients`: tests of clients on a connection of the application
- `records_page`: every field of the contract's records
- `scaffold`: writes a new provider package
- `stress`, `stress_workloads`: measures a provider
- `broken_providers`, `careful_store`, `locking_store`: how the checks themselves are tested

Names are imported when they are first asked for: pytest loads the plugin in every run, and most
runs have nothing to do with providers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration
    from perdure_conformance.bench import Bench
    from perdure_conformance.catalogue import ALL_CHECKS
    from perdure_conformance.check import Check
    from perdure_conformance.clauses import CLAUSES
    from perdure_conformance.expect import ClauseBroken
    from perdure_conformance.runner import Outcome, Result, judge
    from perdure_conformance.scenarios import SCENARIOS
    from perdure_conformance.suite import ProviderConformance
    from perdure_conformance.verdict import Verdict, pronounce

_HOMES = {
    "CLAUSES": "clauses",
    "ALL_CHECKS": "catalogue",
    "SCENARIOS": "scenarios",
    "Backend": "backend",
    "Check": "check",
    "ClauseBroken": "expect",
    "Declaration": "backend",
    "Bench": "bench",
    "Outcome": "runner",
    "ProviderConformance": "suite",
    "Result": "runner",
    "Verdict": "verdict",
    "judge": "runner",
    "pronounce": "verdict",
}

__all__ = [
    "ALL_CHECKS",
    "CLAUSES",
    "SCENARIOS",
    "Backend",
    "Bench",
    "Check",
    "ClauseBroken",
    "Declaration",
    "Outcome",
    "ProviderConformance",
    "Result",
    "Verdict",
    "judge",
    "pronounce",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
