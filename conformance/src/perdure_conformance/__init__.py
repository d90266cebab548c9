"""The conformance suite for storage providers of Perdure.

- `check`, `checks`: the checks, one for every clause of the contract, as data
- `rows`, `kills`: the checks of what users are promised, through the real runtime
- `everything`: both
- `backend`, `lab`, `samples`, `expect`: what a check works with
- `runner`, `verdict`, `report`: from checks to a verdict and its documents
- `suite`, `plugin`: the checks as pytest tests
- `command`: the checks without pytest
- `reference`: a small provider: the suite's model, and a start for authors

Names are imported when they are first asked for: pytest loads the plugin in every run, and most
runs have nothing to do with providers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration
    from perdure_conformance.check import Check
    from perdure_conformance.checks import CHECKS
    from perdure_conformance.everything import EVERYTHING
    from perdure_conformance.expect import ClauseBroken
    from perdure_conformance.lab import Lab
    from perdure_conformance.rows import ROWS
    from perdure_conformance.runner import Outcome, Result, judge
    from perdure_conformance.suite import ProviderConformance
    from perdure_conformance.verdict import Verdict, pronounce

_HOMES = {
    "CHECKS": "checks",
    "EVERYTHING": "everything",
    "ROWS": "rows",
    "Backend": "backend",
    "Check": "check",
    "ClauseBroken": "expect",
    "Declaration": "backend",
    "Lab": "lab",
    "Outcome": "runner",
    "ProviderConformance": "suite",
    "Result": "runner",
    "Verdict": "verdict",
    "judge": "runner",
    "pronounce": "verdict",
}

__all__ = [
    "CHECKS",
    "EVERYTHING",
    "ROWS",
    "Backend",
    "Check",
    "ClauseBroken",
    "Declaration",
    "Lab",
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
