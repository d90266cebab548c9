"""All checks: the clauses of the contract, then the scenarios.

The clauses test the provider alone. The scenarios test it through the real runtime, as users use it.
"""

from __future__ import annotations

from perdure_conformance.check import Check
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.scenarios import SCENARIOS

ALL_CHECKS: tuple[Check, ...] = (*CLAUSES, *SCENARIOS)
