"""All that a provider is asked for: the clauses of the contract, then the rows of the semantics.

The clauses ask the provider alone; the rows ask it through the real runtime, as users meet it.
"""

from __future__ import annotations

from perdure_conformance.check import Check
from perdure_conformance.checks import CHECKS
from perdure_conformance.rows import ROWS

EVERYTHING: tuple[Check, ...] = (*CHECKS, *ROWS)
