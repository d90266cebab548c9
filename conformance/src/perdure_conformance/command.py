"""The command line: certify a provider by its URL, scaffold a new one, measure one.

python -m perdure_conformance sqlite:///x.db
python -m perdure_conformance new acme
python -m perdure_conformance stress sqlite:///x.db
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from perdure.contract import masked
from perdure.errors import InvalidInput

from perdure_conformance.backend import Backend, find_backend
from perdure_conformance.everything import EVERYTHING
from perdure_conformance.report import as_text, write_report
from perdure_conformance.runner import Result, judge
from perdure_conformance.scaffold import scaffold
from perdure_conformance.stress import as_json, as_table, measure
from perdure_conformance.verdict import pronounce

CONFORMANT = DONE = 0
BROKEN, UNREACHABLE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 only for a conformant provider or a task that was done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first == "new":
        return create_package(words[1:])
    if first == "stress":
        return stress(words[1:])
    return certify(words)


def create_package(words: Sequence[str]) -> int:
    """Scaffold a provider package."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance new",
        description="Scaffold a provider package that is conformant at once.",
    )
    parser.add_argument("scheme", help="the URL scheme, a lower-case word such as acme")
    parser.add_argument(
        "directory", nargs="?", type=Path, help="where; perdure-SCHEME where none is given"
    )
    options = parser.parse_args(words)
    directory = options.directory or Path(f"perdure-{options.scheme}")
    try:
        written = scaffold(options.scheme, directory)
    except InvalidInput as error:
        print(error, file=sys.stderr)
        return BROKEN
    for path in written:
        print(path)
    print(f"\ncd {directory} && pip install -e '.[test]' && pytest")
    return DONE


def stress(words: Sequence[str]) -> int:
    """Measure a provider."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance stress",
        description="Measure throughput and latency of a provider; it writes to the storage.",
    )
    parser.add_argument("url", help="the storage, such as sqlite:///x.db")
    parser.add_argument("--operations", type=int, default=500, help="of each workload")
    parser.add_argument("--callers", type=int, default=16, help="at once")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    options = parser.parse_args(words)
    backend = reach(options.url)
    if backend is None:
        return UNREACHABLE
    found = asyncio.run(measure(backend, operations=options.operations, callers=options.callers))
    print(as_json(backend, found) if options.json else as_table(found))
    return DONE


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
    backend = reach(url)
    if backend is None:
        print("nothing was tested, so it is NOT conformant")
        return UNREACHABLE
    results: list[Result] = []
    interrupted: str | None = None
    try:
        for check in EVERYTHING:
            if only is not None and only not in check.id:
                continue
            results.append(judge(check, backend))
            print(f"{check.id:<12} {results[-1].outcome}", file=sys.stderr)
            if stop and results[-1].outcome == "failed":
                interrupted = "the run was stopped at the first failure"
                break
    except KeyboardInterrupt:
        interrupted = "the run was interrupted"
    verdict = pronounce(backend.declaration, EVERYTHING, results, interrupted=interrupted)
    print(as_text(verdict))
    if directory is not None:
        write_report(verdict, directory)
    return CONFORMANT if verdict.conformant else BROKEN


def reach(url: str) -> Backend | None:
    """The backend of a URL, or None, and why, where it cannot be opened."""
    try:
        return find_backend(url)
    except Exception as error:  # noqa: BLE001 # a provider may fail to open in any way
        print(f"{masked(url)} could not be opened: {type(error).__name__}: {error}")
        return None
