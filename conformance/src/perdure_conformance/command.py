"""The command line: certify a provider by its URL, scaffold a new one, measure one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perdure.contract import masked

from perdure_conformance.backend import find_backend
from perdure_conformance.checks import CHECKS
from perdure_conformance.report import as_text, write_report
from perdure_conformance.runner import Result, judge
from perdure_conformance.verdict import pronounce

CONFORMANT, BROKEN, UNREACHABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 only for a conformant provider or a task that was done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return certify(words)


def certify(words: Sequence[str]) -> int:
    """Run the checks against a URL, and report."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance",
        description="Run the conformance suite against a storage provider of Perdure.",
        epilog="Also: `new NAME` scaffolds a provider package, `stress URL` measures a provider.",
    )
    parser.add_argument("url", help="the storage, such as sqlite:///x.db; it will be written to")
    parser.add_argument(
        "--report", type=Path, metavar="DIRECTORY", help="write conformance.json and .md there"
    )
    parser.add_argument(
        "--only", metavar="TEXT", help="run only checks whose id has this text; never conformant"
    )
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    options = parser.parse_args(words)
    return run(options.url, only=options.only, stop=options.stop, directory=options.report)


def run(url: str, *, only: str | None, stop: bool, directory: Path | None) -> int:
    """Run what was chosen, print and write the report."""
    try:
        backend = find_backend(url)
    except Exception as error:  # noqa: BLE001 # a provider may fail to open in any way
        print(f"{masked(url)} could not be opened, so nothing was tested and it is NOT conformant:")
        print(f"  {type(error).__name__}: {error}")
        return UNREACHABLE
    results: list[Result] = []
    interrupted: str | None = None
    try:
        for check in CHECKS:
            if only is not None and only not in check.id:
                continue
            results.append(judge(check, backend))
            print(f"{check.id:<12} {results[-1].outcome}", file=sys.stderr)
            if stop and results[-1].outcome == "failed":
                interrupted = "the run was stopped at the first failure"
                break
    except KeyboardInterrupt:
        interrupted = "the run was interrupted"
    verdict = pronounce(backend.declaration, CHECKS, results, interrupted=interrupted)
    print(as_text(verdict))
    if directory is not None:
        write_report(verdict, directory)
    return CONFORMANT if verdict.conformant else BROKEN
