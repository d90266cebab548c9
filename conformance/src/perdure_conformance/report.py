"""Writes a verdict: as a table for the terminal, JSON for machines, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from perdure_conformance.backend import UNKNOWN, Declaration
from perdure_conformance.check import Check
from perdure_conformance.runner import Outcome, Result
from perdure_conformance.verdict import RAN, Verdict

FORMAT = 1
"""The version of `conformance.json`."""

NOT_TESTED = (
    "a crash or a failover of the storage's server, and what it loses then",
    "clocks of other machines: all processes of a run are on one",
    "a network that splits, and replicas that lag",
    "throughput, and storages that are larger than a check makes them",
)
"""What a storage promises for itself, and no check tries."""


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    declaration = verdict.declaration
    known = declaration.distribution != UNKNOWN
    made = f" ({declaration.distribution} {declaration.version})" if known else ""
    provider = f"{declaration.scheme}{made}"
    if verdict.is_partial:
        ran = [result.outcome for _, result in verdict.shown if result.outcome in RAN]
        return f"{provider}: {ran.count(Outcome.PASSED)} of {len(ran)} chosen checks passed"
    word = "conformant" if verdict.conformant else "NOT conformant"
    contract = ".".join(map(str, declaration.contract))
    return f"{provider} is {word} to contract {contract}"


def by_family(verdict: Verdict) -> Mapping[str, list[tuple[Check, Result]]]:
    """Checks and their results, by family."""
    families: dict[str, list[tuple[Check, Result]]] = {}
    for check, result in verdict.shown:
        families.setdefault(check.family, []).append((check, result))
    return families


def table(verdict: Verdict) -> Iterator[Sequence[str]]:
    """The counts by family, with a heading and a sum."""
    yield ("family", *(outcome.value for outcome in Outcome), "seconds")
    for family, pairs in by_family(verdict).items():
        yield (family, *counts([result for _, result in pairs]))
    yield ("all", *counts([result for _, result in verdict.shown]))


def counts(results: Sequence[Result]) -> list[str]:
    """The number of results by outcome, and their seconds."""
    numbers = [sum(result.outcome is outcome for result in results) for outcome in Outcome]
    seconds = sum(result.seconds for result in results)
    return [*(str(number) if number else "-" for number in numbers), f"{seconds:.1f}"]


def as_text(verdict: Verdict) -> str:
    """The report for a terminal."""
    lines = tabulated(verdict) if verdict.tested else []
    for check, result in listed(verdict):
        lines += ["", f"{check.id}: {result.outcome}", f"  promised: {check.promise}"]
        lines += [f"  {line}" for line in result.message.splitlines()]
    remarks = [f"unsupported: {what}" for what in left_out(verdict)]
    remarks += [f"{check.id}: {result.message}" for check, result in noted(verdict)]
    if not verdict.is_partial and verdict.tested:
        remarks.append(f"no check tries {'; '.join(NOT_TESTED)}")
    lines += ["", *remarks] if lines and remarks else remarks
    lines += [""] if lines else []
    return "\n".join([*lines, in_short(verdict)])


def in_short(verdict: Verdict) -> str:
    """The verdict, and why it is not another one."""
    return "\n".join([headline(verdict), *(f"  - {reason}" for reason in verdict.reasons)])


def tabulated(verdict: Verdict) -> list[str]:
    """The table by family, in columns."""
    rows = list(table(verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def left_out(verdict: Verdict) -> Iterator[str]:
    """The unsupported checks, grouped by the reason."""
    why: dict[str, list[str]] = {}
    for result in verdict.results:
        if result.outcome is Outcome.UNSUPPORTED:
            why.setdefault(result.message, []).append(result.id)
    for reason, ids in why.items():
        yield f"{', '.join(ids)} ({reason})"


def listed(verdict: Verdict) -> Iterator[tuple[Check, Result]]:
    """The checks that are shown one by one: those that failed, expectedly or not."""
    for check, result in zip(verdict.checks, verdict.results, strict=True):
        if result.outcome in (Outcome.FAILED, Outcome.EXPECTED_FAILURE):
            yield check, result


def noted(verdict: Verdict) -> Iterator[tuple[Check, Result]]:
    """The checks that passed and say something about it."""
    for check, result in verdict.shown:
        if result.outcome is Outcome.PASSED and result.message:
            yield check, result


def as_json(verdict: Verdict) -> str:
    """The report for machines."""
    declaration = verdict.declaration
    document = {
        "format": FORMAT,
        "conformant": verdict.conformant,
        "reasons": list(verdict.reasons),
        "provider": {
            "scheme": declaration.scheme,
            "distribution": declaration.distribution,
            "version": declaration.version,
            "contract": list(declaration.contract),
            "capabilities": sorted(declaration.capabilities),
            "tampering": sorted(declaration.tampering),
            "description": declaration.description,
            "tested_on": declaration.tested_on,
        },
        "suite": {
            "version": verdict.suite,
            "core": verdict.core,
            "contract": list(verdict.contract),
            "python": verdict.python,
        },
        "date": verdict.date.isoformat(),
        "not_tested": list(NOT_TESTED),
        "counts": {outcome.value: count for outcome, count in verdict.counts().items()},
        "checks": [
            {
                "id": check.id,
                "family": check.family,
                "since": list(check.since),
                "needs": list(check.needs),
                "tampering": check.tampering,
                "promise": check.promise,
                "outcome": result.outcome.value,
                "message": result.message,
                "seconds": round(result.seconds, 3),
            }
            for check, result in zip(verdict.checks, verdict.results, strict=True)
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_markdown(verdict: Verdict) -> str:
    """The report for people."""
    declaration = verdict.declaration
    lines = [f"# {headline(verdict)}", ""]
    lines += [f"- {reason}" for reason in verdict.reasons]
    lines += [""] if verdict.reasons else []
    lines += [
        f"Capabilities: {', '.join(sorted(declaration.capabilities)) or 'none'}.",
        f"Tampering that the backend offers: {', '.join(sorted(declaration.tampering)) or 'none'}.",
        f"Tested on {verdict.date:%Y-%m-%d}{_storage(declaration)}.",
        f"With perdure {verdict.core}, perdure-conformance {verdict.suite}, Python {verdict.python}.",
        "",
    ]
    rows = list(table(verdict))
    lines += [markdown_row(rows[0]), markdown_row(["---"] * len(rows[0]))]
    lines += [markdown_row(row) for row in rows[1:]]
    unsupported = [f"- Unsupported: {what}." for what in left_out(verdict)]
    lines += ["", *unsupported] if unsupported else []
    lines += ["", "| clause | outcome | promise |", "| --- | --- | --- |"]
    lines += [
        markdown_row((check.id, result.outcome.value, check.promise.replace("|", "\\|")))
        for check, result in verdict.shown
    ]
    lines += ["", "No check tries:", "", *(f"- {what}" for what in NOT_TESTED)]
    for check, result in noted(verdict):
        lines += ["", f"{check.id}: {result.message}."]
    for check, result in listed(verdict):
        lines += ["", f"## {check.id}: {result.outcome}", "", "```", result.message, "```"]
    return "\n".join(lines) + "\n"


def _storage(declaration: Declaration) -> str:
    return f", on {declaration.tested_on}" if declaration.tested_on else ""


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def write_report(verdict: Verdict, directory: Path) -> None:
    """Write `conformance.json` and `conformance.md` into a directory, creating it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "conformance.json").write_text(as_json(verdict), encoding="utf-8")
    (directory / "conformance.md").write_text(as_markdown(verdict), encoding="utf-8")
