"""Medians of all runs with their spread, as JSON; the page is made of the same summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import percentile
from benchmarks.rows import Extent, Row
from benchmarks.runner import Run
from benchmarks.subjects import Subject, machine


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one row by one subject."""

    row: Row
    size: int
    subject: Subject
    runs: tuple[Run, ...]

    @property
    def figures(self) -> list[float]:
        """The main figure of each run that did not fail."""
        return [run.measured.figure for run in self.runs if run.measured is not None]

    @property
    def error(self) -> str:
        """Why a run failed; empty if none did."""
        return next((run.error for run in self.runs if run.error), "")

    @property
    def reason(self) -> str:
        """Why the subject does not play the row; empty if it does."""
        return self.runs[0].reason

    def percentiles(self) -> list[float]:
        """The 50th, 95th and 99th of the samples of all runs; empty if there are none."""
        samples = [each for run in self.runs if run.measured for each in run.measured.samples_ms]
        return [percentile(samples, share) for share in (50, 95, 99)] if samples else []

    def cpu_us(self) -> float | None:
        """The median of the processor time for each operation, in microseconds."""
        found = [run.measured.cpu_us for run in self.runs if run.measured]
        counted = [each for each in found if each is not None]
        return median(counted) if counted else None

    def peak_mib(self) -> float:
        """The median of the peaks."""
        return median(run.measured.peak_mib for run in self.runs if run.measured)

    def notes(self) -> dict[str, float]:
        """The median of each further figure."""
        names = {name for run in self.runs if run.measured for name in run.measured.notes}
        return {
            name: median(run.measured.notes.get(name, 0) for run in self.runs if run.measured)
            for name in sorted(names)
        }


def summaries(runs: Iterable[Run]) -> list[Summary]:
    """The runs of each row, size and subject together, in the order of their first runs."""
    found: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.row.id, run.size, run.subject.id), []).append(run)
    return [
        Summary(each[0].row, each[0].size, each[0].subject, tuple(each)) for each in found.values()
    ]


def describe(extent: Extent, remark: str) -> dict[str, Any]:
    """What is said of a whole run: its extent, the machine, a remark."""
    return {"short": extent.short, "rounds": extent.rounds, "remark": remark, **machine()}


def write_figures(found: Sequence[Summary], described: Mapping[str, Any], folder: Path) -> None:
    """Write `results.json`."""
    text = json.dumps(_plain(found, described), indent=1) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")


def _plain(found: Sequence[Summary], described: Mapping[str, Any]) -> dict[str, Any]:
    subjects = {each.subject.id: each.subject for each in found}
    return {
        **described,
        "subjects": {
            subject.id: {"settings": subject.settings, "versions": dict(subject.versions)}
            for subject in subjects.values()
        },
        "results": [
            {
                "row": each.row.id,
                "size": each.size,
                "subject": each.subject.id,
                "unit": each.row.unit,
                "figures": each.figures,
                "p50_p95_p99_ms": each.percentiles(),
                "cpu_us_per_operation": each.cpu_us(),
                "peak_mib": each.peak_mib() if each.figures else None,
                "notes": each.notes(),
                "error": each.error,
                "not_played": each.reason,
            }
            for each in found
        ],
    }
