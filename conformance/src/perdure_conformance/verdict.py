"""The verdict on a run: conformant, or not and why.

A provider is conformant only if every check that binds it ran and passed. A check that was stopped
or unreachable has no result and counts as untested. A run of chosen checks is never conformant, and
speaks of these checks alone.
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

RAN = (Outcome.PASSED, Outcome.FAILED, Outcome.EXPECTED_FAILURE)
"""The outcomes of checks that ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on a provider."""

    declaration: Declaration
    checks: Sequence[Check]
    results: Sequence[Result]
    """One for every check, in the order of the contract."""
    reasons: Sequence[str]
    """Why the provider is not conformant; empty if it is."""
    is_partial: bool
    """Whether only some checks were chosen to run."""
    date: datetime
    suite: str
    core: str
    contract: tuple[int, int]
    python: str

    @property
    def conformant(self) -> bool:
        """Whether every clause that binds the provider was tested and passed."""
        return not self.reasons

    @property
    def tested(self) -> bool:
        """Whether any check ran."""
        return any(result.outcome in RAN for result in self.results)

    @property
    def shown(self) -> Sequence[tuple[Check, Result]]:
        """The checks that a report shows, with their results: all, or those that were chosen."""
        pairs = zip(self.checks, self.results, strict=True)
        return [
            pair for pair in pairs if not (self.is_partial and pair[1].outcome is Outcome.UNTESTED)
        ]

    def counts(self) -> Mapping[Outcome, int]:
        """The number of checks by outcome."""
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

    If a check ran several times, a failure counts.
    `interrupted` says what stopped the run, `chosen` what selected its checks, `obstacle` why none
    could run.
    """
    by_id: dict[str, Result] = {}
    for result in results:
        if result.id not in by_id or result.outcome is Outcome.FAILED:
            by_id[result.id] = result
    complete = [
        by_id.get(check.id, Result(id=check.id, outcome=Outcome.UNTESTED)) for check in checks
    ]
    is_partial = (
        obstacle is None
        and chosen is not None
        and any(result.outcome is Outcome.UNTESTED for result in complete)
    )
    return Verdict(
        declaration=declaration,
        checks=checks,
        results=complete,
        reasons=[f"it could not be tested: {obstacle}"]
        if obstacle is not None
        else list(
            shortcomings(declaration, checks, complete, interrupted, chosen if is_partial else None)
        ),
        is_partial=is_partial,
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
    """Every reason why the provider is not conformant."""
    if interrupted is not None:
        yield interrupted
    if chosen is not None:
        yield chosen
    required = {check.id for check in checks if binds(check, declaration)}
    for outcome, what in (
        (Outcome.FAILED, "failed"),
        (Outcome.EXPECTED_FAILURE, "failed, as expected"),
        (Outcome.UNTESTED, "did not run"),
        (Outcome.UNSUPPORTED, "were skipped though they bind the provider"),
    ):
        found = [r.id for r in results if r.outcome is outcome and r.id in required]
        if outcome is Outcome.UNTESTED and chosen is not None:
            continue
        if found:
            yield f"{len(found)} of {len(required)} required checks {what}: {named(found)}"
    if not any(result.outcome is Outcome.PASSED for result in results):
        yield "no check ran and passed"


def named(ids: Sequence[str]) -> str:
    """The first ids, and the number of the others."""
    shown = ", ".join(ids[:12])
    return shown if len(ids) <= 12 else f"{shown} and {len(ids) - 12} others"
