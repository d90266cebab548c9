"""Medians of all runs with their spread: as JSON, and as a page with a table and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import percentile
from benchmarks.plots import bars
from benchmarks.rows import Row
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
        """Why there are no figures."""
        return next((run.error for run in self.runs if run.measured is None), "")

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
            name: median(run.measured.notes[name] for run in self.runs if run.measured)
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


def write(found: Sequence[Summary], folder: Path, *, rounds: int, short: bool) -> None:
    """Write `results.json`, `results.md` and a picture for each row with several subjects."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(
        json.dumps(_plain(found, rounds, short), indent=1) + "\n", encoding="utf-8"
    )
    pictures = _draw(found, folder)
    (folder / "results.md").write_text(_page(found, rounds, short, pictures), encoding="utf-8")


def _plain(found: Sequence[Summary], rounds: int, short: bool) -> dict[str, Any]:
    return {
        **machine(),
        "rounds": rounds,
        "short": short,
        "subjects": {
            each.subject.id: {
                "settings": each.subject.settings,
                "versions": dict(each.subject.versions),
            }
            for each in found
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
            }
            for each in found
        ],
    }


def _page(found: Sequence[Summary], rounds: int, short: bool, pictures: Mapping[str, str]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "`nox -s bench` measures these rows and writes this page.",
        "Each row is played by all subjects in turn, and each run has a process of its own.",
        "A figure is the median of the runs, with the smallest and the largest.",
        "Processor time is that of one operation, garbage collection included.",
        "Compare the figures of one table; those of another machine mean little.",
        "",
        f"{'A short run' if short else 'A whole run'} of {rounds} {'round' if rounds == 1 else 'rounds'} on {machine()['machine']}, Python {machine()['python']}.",
        "",
        "| subject | settings | versions |",
        "| --- | --- | --- |",
    ]
    for subject in {each.subject.id: each.subject for each in found}.values():
        versions = ", ".join(f"{name} {number}" for name, number in subject.versions.items())
        lines.append(f"| {subject.title} | {subject.settings} | {versions} |")
    lines += [
        "",
        "| row | subject | median (smallest to largest) | p50 / p95 / p99 ms | µs of processor | peak MiB | besides |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(each) for each in found]
    for title, file in pictures.items():
        lines += ["", f"![{title}]({file})"]
    return "\n".join(lines) + "\n"


def _line(one: Summary) -> str:
    cells = [one.row.named(one.size), one.subject.title]
    if not one.figures:
        return f"| {' | '.join([*cells, f'failed: {one.error}', '', '', '', ''])} |"
    spread = f"{_short(min(one.figures))} to {_short(max(one.figures))}"
    cpu = one.cpu_us()
    cells += [
        f"{_short(median(one.figures))} {one.row.unit} ({spread})",
        " / ".join(_short(each) for each in one.percentiles()),
        "" if cpu is None else _short(cpu),
        f"{one.peak_mib():.0f}",
        ", ".join(f"{name} {_short(value)}" for name, value in one.notes().items()),
    ]
    return f"| {' | '.join(cells)} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _draw(found: Sequence[Summary], folder: Path) -> dict[str, str]:
    """A picture for each row that several subjects have played; returns titles and file names."""
    pictures: dict[str, str] = {}
    for row, size in dict.fromkeys((each.row, each.size) for each in found):
        shown = [each for each in found if (each.row, each.size) == (row, size) and each.figures]
        if len(shown) < 2:
            continue
        title, file = f"{row.named(size)}, {row.unit}", f"{row.id}-{size}.svg"
        drawn = bars(title, [(each.subject.title, each.figures) for each in shown])
        (folder / file).write_text(drawn, encoding="utf-8")
        pictures[title] = file
    return pictures
