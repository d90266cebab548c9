"""The command line: certifies a provider by its URL, scaffolds a new one, measures one.

python -m perdure_conformance sqlite:///x.db --only COMMIT LEASE-3
python -m perdure_conformance --list
python -m perdure_conformance new acme
python -m perdure_conformance stress sqlite:///x.db
python -m perdure_conformance table README.md sqlite/conformance.json
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perdure.errors import InvalidInput

from perdure_conformance.backend import Backend
from perdure_conformance.captured_logs import CapturedLogs, capture_logs
from perdure_conformance.catalogue import ALL_CHECKS
from perdure_conformance.check import Check
from perdure_conformance.preflight import UnreachableBackend, find_obstacle, reach_backend
from perdure_conformance.provider_table import BEGIN, END, rewrite
from perdure_conformance.records_page import page
from perdure_conformance.report import as_text, write_report
from perdure_conformance.runner import Outcome, Result, judge
from perdure_conformance.scaffold import scaffold
from perdure_conformance.stress import SECONDS, Load, as_json, as_table, measure, name_of
from perdure_conformance.stress_workloads import WORKLOADS
from perdure_conformance.verdict import pronounce

CONFORMANT = DONE = 0
BROKEN, UNREACHABLE, PARTIAL = 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 only for a conformant provider or a completed task.

    It returns 1 where a check failed, 2 where nothing could be tested, and 3 where only some checks
    were chosen, and none of them failed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first == "new":
        return create_package(words[1:])
    if first == "stress":
        return stress(words[1:])
    if first == "records":
        print(page(), end="")
        return DONE
    if first == "table":
        return write_table(words[1:])
    return certify(words)


def create_package(words: Sequence[str]) -> int:
    """Scaffold a provider package."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance new",
        description="Scaffold a provider package that is conformant at once.",
    )
    parser.add_argument("scheme", help="the URL scheme, a lower-case word such as acme")
    parser.add_argument(
        "directory", nargs="?", type=Path, help="the new directory, by default perdure-SCHEME"
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


def write_table(words: Sequence[str]) -> int:
    """Write the verdicts of reports into a document's table of providers."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance table",
        description=f"Write the last column of the table between {BEGIN} and {END}.",
    )
    parser.add_argument("document", type=Path, help="a Markdown file, such as README.md")
    parser.add_argument("reports", type=Path, nargs="*", help="conformance.json of each provider")
    options = parser.parse_args(words)
    try:
        changed = rewrite(options.document, options.reports)
    except InvalidInput as error:
        print(error, file=sys.stderr)
        return BROKEN
    print(f"{options.document} {'was changed' if changed else 'is up to date'}")
    return DONE


def stress(words: Sequence[str]) -> int:
    """Measure a provider."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance stress",
        description="Measure throughput and latency of a provider; it writes to the storage.",
    )
    parser.add_argument("url", help="the storage, such as sqlite:///x.db")
    parser.add_argument("--operations", type=int, default=500, help="of each workload, at most")
    parser.add_argument("--callers", type=int, default=16, help="at once")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="for each workload, at most: by default all take less than a minute",
    )
    names = [name_of(step) for step in WORKLOADS]
    parser.add_argument(
        "--workloads", nargs="+", choices=names, default=names, help="by default all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    options = parser.parse_args(words)
    backend = reach_backend(options.url)
    if isinstance(backend, UnreachableBackend):
        print(backend.reason)
        return UNREACHABLE
    load = Load(operations=options.operations, callers=options.callers, seconds=options.seconds)
    chosen_ones = [step for step in WORKLOADS if name_of(step) in options.workloads]
    found = asyncio.run(measure(backend, load, chosen_ones))
    print(as_json(backend, found) if options.json else as_table(found))
    return DONE


def certify(words: Sequence[str]) -> int:
    """Run the checks against a URL, and report."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure_conformance",
        description="Run the conformance suite against a storage provider of Perdure.",
        epilog="Also: `new NAME` scaffolds a provider package, `stress URL` measures a provider,"
        " `table README.md REPORT…` writes a table of providers, `records` prints every field of the"
        " contract's records.",
    )
    parser.add_argument(
        "url", nargs="?", help="the storage, such as sqlite:///x.db; it will be written to"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIRECTORY", help="write conformance.json and .md there"
    )
    parser.add_argument(
        "--only",
        metavar="CHECK",
        nargs="+",
        action="extend",
        default=[],
        help="run only these checks: ids such as COMMIT-5, families such as LEASE, or any other text"
        " that ids contain; the verdict is then never conformant",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the checks, or those of --only, and run none"
    )
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    options = parser.parse_args(words)
    for text in options.only:
        if not chosen_by(text):
            parser.error(f"no check has {text!r} in its id; --list shows all checks")
    if options.list:
        for check in chosen(options.only):
            print(f"{check.id:<12} {check.promise}")
        return DONE
    if options.url is None:
        parser.error("the URL of a storage is missing, such as sqlite:///x.db")
    return run(options.url, only=options.only, stop=options.stop, directory=options.report)


def chosen(only: Sequence[str]) -> Sequence[Check]:
    """The checks that these texts choose, in the order of the contract; all where there is none."""
    ids = {check.id for text in only for check in chosen_by(text)}
    return [check for check in ALL_CHECKS if not only or check.id in ids]


def chosen_by(text: str) -> Sequence[Check]:
    """The checks that a text chooses: by id, by family, or all whose id contains it."""
    by_name = [check for check in ALL_CHECKS if text in (check.id, check.family)]
    return by_name or [check for check in ALL_CHECKS if text in check.id]


def run(url: str, *, only: Sequence[str], stop: bool, directory: Path | None) -> int:
    """Run the selected checks, print the report and write it."""
    backend = reach_backend(url)
    with capture_logs() as logs:
        try:
            obstacle = find_obstacle(backend)
        except KeyboardInterrupt:
            obstacle = "the run was interrupted"
        run = Run() if obstacle is not None else run_checks(backend, logs, only=only, stop=stop)
    verdict = pronounce(
        backend.declaration,
        ALL_CHECKS,
        run.results,
        interrupted=run.interrupted,
        chosen=f"only {', '.join(only)} ran: no verdict on the whole contract" if only else None,
        obstacle=obstacle,
    )
    print(as_text(verdict))
    if directory is not None:
        write_report(verdict, directory)
    if obstacle is not None:
        return UNREACHABLE
    if verdict.conformant:
        return CONFORMANT
    failed = run.interrupted or any(r.outcome is Outcome.FAILED for r in run.results)
    return BROKEN if failed or not verdict.is_partial else PARTIAL


@dataclass(slots=True)
class Run:
    """The results of a run of checks."""

    results: list[Result] = field(default_factory=list[Result])
    interrupted: str | None = None


def run_checks(backend: Backend, logs: CapturedLogs, *, only: Sequence[str], stop: bool) -> Run:
    """Run the selected checks, and print the outcome of each."""
    run = Run()
    try:
        for check in chosen(only):
            result = with_lines(judge(check, backend), logs.take())
            run.results.append(result)
            print(f"{check.id:<12} {result.outcome}", file=sys.stderr)
            if stop and result.outcome is Outcome.FAILED:
                run.interrupted = "the run was stopped at the first failure"
                break
    except KeyboardInterrupt:
        run.interrupted = "the run was interrupted"
    return run


def with_lines(result: Result, lines: Sequence[str]) -> Result:
    """A failure together with the captured log lines; any other result unchanged."""
    if result.outcome is not Outcome.FAILED or not lines:
        return result
    return replace(result, message="\n".join([result.message, "logged meanwhile:", *lines]))
