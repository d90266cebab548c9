"""The command: `python -m benchmarks`; see the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.report import summaries, write
from benchmarks.rows import BY_ID, ROWS
from benchmarks.runner import play_all
from benchmarks.subjects import subjects


def main() -> None:
    """Play the rows, and write the report."""
    known = {subject.id: subject for subject in subjects()}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the rows.")
    parser.add_argument("--short", action="store_true", help="small sizes, a few minutes in all")
    parser.add_argument("--rounds", type=int, default=None, help="default: 5, with --short 2")
    parser.add_argument("--row", action="append", choices=BY_ID, help="only these rows")
    parser.add_argument("--subject", action="append", choices=known, help="only these subjects")
    parser.add_argument("--into", type=Path, default=Path("build", "benchmarks"), metavar="FOLDER")
    given = parser.parse_args()
    rows = [row for row in ROWS if row.id in (given.row or BY_ID)]
    chosen = [known[each] for each in given.subject or known]
    rounds: int = given.rounds or (2 if given.short else 5)
    runs = play_all(rows, chosen, rounds=rounds, short=given.short)
    found = summaries(runs)
    write(found, given.into, rounds=rounds, short=given.short)
    print((given.into / "results.md").read_text("utf-8"))


if __name__ == "__main__":
    main()
