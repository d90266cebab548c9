"""The command: `python -m benchmarks`; see the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.excerpt import renew
from benchmarks.page import write_page
from benchmarks.report import describe, summaries, write_figures
from benchmarks.rows import BY_ID, ROWS, Extent
from benchmarks.runner import Run, play_all
from benchmarks.subjects import subjects


def main() -> None:
    """Play the rows, and write the report."""
    known = {subject.id: subject for subject in subjects()}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the rows.")
    parser.add_argument("--short", action="store_true", help="small sizes, a few minutes in all")
    parser.add_argument("--large", action="store_true", help="also sizes that take very long")
    parser.add_argument("--rounds", type=int, default=5, help="at most so many; default: 5")
    parser.add_argument(
        "--minutes",
        type=float,
        default=None,
        help="what has not been played when they are over is not; default: 22, with --short 6",
    )
    parser.add_argument("--row", action="append", choices=BY_ID, help="only these rows")
    parser.add_argument("--subject", action="append", choices=known, help="only these subjects")
    parser.add_argument("--remark", default="", help="a sentence for the page, on the machine")
    parser.add_argument("--into", type=Path, default=Path("build", "benchmarks"), metavar="FOLDER")
    parser.add_argument(
        "--renew", action="store_true", help="put the main figures into the page on providers too"
    )
    given = parser.parse_args()
    rows = [row for row in ROWS if row.id in (given.row or BY_ID)]
    chosen = [known[each] for each in given.subject or known]
    extent = Extent(given.short, given.large, given.rounds)
    minutes: float = given.minutes if given.minutes is not None else 6.0 if given.short else 22.0
    runs: list[Run] = []
    try:
        for run in play_all(rows, chosen, extent, minutes=minutes):
            runs.append(run)
    except KeyboardInterrupt:
        print("interrupted: the report has what was played", file=sys.stderr)
    found = summaries(runs)
    described = describe(extent, given.remark)
    given.into.mkdir(parents=True, exist_ok=True)
    write_figures(found, described, given.into)
    print(write_page(found, described, given.into))
    if given.renew:
        renew(given.into)


if __name__ == "__main__":
    main()
