"""The verdict over a run: conformant, or not and why.

A provider is conformant only if every check that binds it was run and passed. Whatever was
filtered away, stopped early or could not be reached has no result, and a check without a result
is untested: so no partial run is ever taken for a whole one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from perdure.contract import CONTRACT

from perdure_conformance.backend import Declaration
from perdure_conformance.check import Check
from perdure_conformance.runner import Outcome, Result, binds


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run says about a provider."""

    declaration: Declaration
    checks: Sequence[Check]
    results: Sequence[Result]
    """One for every check, in the order of the contract."""
    reasons: Sequence[str]
    """Why the provider is not said to be conformant; empty where it is."""
    date: datetime
    suite: str
    core: str
    contract: tuple[int, int]
    python: str

    @property
    def conformant(self) -> bool:
        """Whether every clause that binds the provider was tested and is kept."""
        return not self.reasons

    @property
    def tested(self) -> bool:
        """Whether any check ran."""
        ran = (Outcome.PASSED, Outcome.FAILED, Outcome.EXPECTED_FAILURE)
        return any(result.outcome in ran for result in self.results)

    def counts(self) -> Mapping[Outcome, int]:
        """How many checks had which outcome."""
        return {
            outcome: sum(result.outcome is outcome for result in self.results)
            for outcome in Outcome
        }


def pronounce(
    declaration: Declaration,
    checks: Sequence[Check],
    results: Iterable[Result],
    *,
    interrupted: str | None = None,
    chosen: str | None = None,
    obstacle: str | None = None,
) -> Verdict:
    """Judge a run by its results; checks without one are untested.

    Of a check that ran several times a failure counts, however often it passed.
    `interrupted` says what stopped the run, `chosen` by what its checks were chosen, `obstacle`
    why none could be run at all.
    """
    by_id: dict[str, Result] = {}
    for result in results:
        if result.id not in by_id or result.outcome is Outcome.FAILED:
            by_id[result.id] = result
    complete = [
        by_id.get(check.id, Result(id=check.id, outcome=Outcome.UNTESTED)) for check in checks
    ]
    return Verdict(
        declaration=declaration,
        checks=checks,
        results=complete,
        reasons=[f"it could not be tested: {obstacle}"]
        if obstacle is not None
        else list(shortcomings(declaration, checks, complete, interrupted, chosen)),
        date=datetime.now(UTC).replace(microsecond=0),
        suite=version("perdure-conformance"),
        core=version("perdure"),
        contract=CONTRACT,
        python=platform.python_version(),
    )


def shortcomings(
    declaration: Declaration,
    checks: Sequence[Check],
    results: Sequence[Result],
    interrupted: str | None,
    chosen: str | None,
) -> Iterable[str]:
    """Every reason against a verdict of conformance."""
    if interrupted is not None:
        yield interrupted
    if chosen is not None and any(r.outcome is Outcome.UNTESTED for r in results):
        yield chosen
    required = {check.id for check in checks if binds(check, declaration)}
    for outcome, what in (
        (Outcome.FAILED, "failed"),
        (Outcome.EXPECTED_FAILURE, "failed, as was expected"),
        (Outcome.UNTESTED, "did not run"),
        (Outcome.UNSUPPORTED, "were skipped though the provider is bound by them"),
    ):
        found = [r.id for r in results if r.outcome is outcome and r.id in required]
        if found:
            yield f"{len(found)} of {len(required)} required checks {what}: {named(found)}"
    if not any(result.outcome is Outcome.PASSED for result in results):
        yield "no check ran and passed"


def named(ids: Sequence[str]) -> str:
    """The first ids, and how many others there are."""
    shown = ", ".join(ids[:12])
    return shown if len(ids) <= 12 else f"{shown} and {len(ids) - 12} others"
