"""The page of a run: a table of all medians, and for each row its details and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.plots import bars
from benchmarks.report import Summary
from benchmarks.rows import Row
from benchmarks.runner import SLOW
from benchmarks.subjects import Subject

Played = tuple[Row, int]
"""A row with its size."""


def write_page(found: Sequence[Summary], described: Mapping[str, Any], folder: Path) -> str:
    """Write `results.md` and its pictures; returns the page."""
    for old in folder.glob("*.svg"):
        old.unlink()
    pictures = _draw(found, folder)
    lines = _beginning(described) + _compared(found) + _all_medians(found)
    for played, of_row in _by_row(found).items():
        lines += _section(played, of_row, pictures.get(played, ""))
    text = "\n".join(lines) + "\n"
    (folder / "results.md").write_text(text, encoding="utf-8")
    return text


def _draw(found: Sequence[Summary], folder: Path) -> dict[Played, str]:
    """A picture for each row that several subjects have played; returns the file names."""
    pictures: dict[Played, str] = {}
    for (row, size), of_row in _by_row(found).items():
        shown = [each for each in of_row if each.figures]
        if len(shown) < 2:
            continue
        file = f"{row.id}-{size}.svg"
        drawn = bars(_title(row, size), [(each.subject.title, each.figures) for each in shown])
        (folder / file).write_text(drawn, encoding="utf-8")
        pictures[row, size] = file
    return pictures


def _beginning(described: Mapping[str, Any]) -> list[str]:
    kind = "A short run" if described["short"] else "A whole run"
    return [
        "# Benchmarks",
        "",
        "`python3 dev.py nox -s bench` in a clone plays these rows and writes this page; `-- --short` takes a few minutes.",
        "All subjects play a row in turn, then the next row, then all rows again; each run has a process and an empty store of its own.",
        f"What took a subject more than {SLOW:.0f} s, and what has many instances stored or waiting, is played once.",
        "A figure is the median of the runs, with the smallest and the largest; percentiles are those of the single times of all runs.",
        "Processor time is that of one operation: of the worker, the client, and the server where there is one.",
        "Memory is that of the worker with its client, and of Restate's server; PostgreSQL's is not counted.",
        "What the flows returned is compared with what they should, and the activities that ran are counted.",
        "Beyond a thousand, the ended instances that are stored beforehand are copies of those that were played.",
        "Compare the figures of one run; those of another machine mean little.",
        "",
        f"{kind} on {described['machine']}, Python {described['python']}.",
        *([described["remark"]] if described["remark"] else []),
    ]


def _compared(found: Sequence[Summary]) -> list[str]:
    lines = [
        "",
        "## Compared",
        "",
        "Temporal is not among them: its server would have to be downloaded or built first.",
        "",
        "| subject | settings | versions |",
        "| --- | --- | --- |",
    ]
    for subject in _subjects(found):
        versions = ", ".join(f"{name} {number}" for name, number in subject.versions.items())
        settings = subject.settings + (f"; not played: {subject.missing}" * bool(subject.missing))
        lines.append(f"| {subject.title} | {settings} | {versions} |")
    return lines


def _all_medians(found: Sequence[Summary]) -> list[str]:
    subjects = _subjects(found)
    lines = [
        "",
        "## All medians",
        "",
        "A dash is a row that the subject does not play; its section says why.",
        "",
        f"| row | unit | {' | '.join(each.title for each in subjects)} |",
        f"| --- | --- |{' --- |' * len(subjects)}",
    ]
    for (row, size), of_row in _by_row(found).items():
        cells = {each.subject.id: _cell(each) for each in of_row}
        shown = " | ".join(cells.get(each.id, "-") for each in subjects)
        better = "more" if row.more_is_better else "less"
        lines.append(f"| {row.named(size)} | {row.unit}, {better} is better | {shown} |")
    return lines


def _cell(one: Summary) -> str:
    if one.figures:
        return _short(median(one.figures))
    return "-" if one.reason else "failed"


def _section(played: Played, of_row: Sequence[Summary], picture: str) -> list[str]:
    title = _title(*played)
    lines = ["", f"## {title}", ""]
    if any(each.figures for each in of_row):
        lines += [
            "| subject | median (smallest to largest) | runs | p50 / p95 / p99 ms | µs of processor | peak MiB | besides |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
    lines += [_line(each) for each in of_row if each.figures]
    if picture:
        lines += ["", f"![{title}]({picture})"]
    left = [f"- {each.subject.title}: {_why(each)}." for each in of_row if _why(each)]
    return [*lines, "", *left] if left else lines


def _why(one: Summary) -> str:
    if one.reason:
        return f"not played, {one.reason}"
    # One sentence a line, also of messages.
    return f"failed, {one.error.replace('. ', '; ')}" if one.error else ""


def _line(one: Summary) -> str:
    cpu = one.cpu_us()
    cells = [
        one.subject.title,
        f"{_short(median(one.figures))} ({_short(min(one.figures))} to {_short(max(one.figures))})",
        str(len(one.figures)),
        " / ".join(_short(each) for each in one.percentiles()),
        "" if cpu is None else _short(cpu),
        f"{one.peak_mib():.0f}",
        ", ".join(f"{name}: {_short(value)}" for name, value in one.notes().items()),
    ]
    return f"| {' | '.join(cells)} |"


def _by_row(found: Sequence[Summary]) -> dict[Played, list[Summary]]:
    """The summaries of each row and size, both in the order in which rows and sizes are listed."""
    by_row: dict[Played, list[Summary]] = {}
    for each in found:
        by_row.setdefault((each.row, each.size), []).append(each)
    rows = list(dict.fromkeys(row for row, _ in by_row))
    return {
        played: by_row[played]
        for played in sorted(by_row, key=lambda played: (rows.index(played[0]), played[1]))
    }


def _subjects(found: Sequence[Summary]) -> list[Subject]:
    return list({each.subject.id: each.subject for each in found}.values())


def _title(row: Row, size: int) -> str:
    return f"{row.named(size)}, {row.unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
