"""The pytest plugin: collects the results of `ProviderConformance` classes, and reports them.

Results travel in the test reports, so tests may run in this process or in workers. A class is not
conformant unless every check has a result, and the report says why others did not run: a selection,
a stop, an obstacle, a fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure_conformance.runner import Result
    from perdure_conformance.suite import Carried
    from perdure_conformance.verdict import Verdict


PROPERTY = "perdure_conformance"
"""The name under which a test's result travels in its report, over processes too."""

CLAUSE = "perdure_clause"
"""The mark of the suite's tests, by which reports without a result are known."""


@dataclass(slots=True)
class Gathered:
    """The results of one class."""

    carried: list[Carried] = field(default_factory=list["Carried"])
    hindered: str | None = None
    """The message of the first test without a result."""


class ConformanceReporter:
    """Keeps results by class until the run is over.

    The suite is imported only if there are results: pytest loads the plugin in every run, and
    most runs test no provider.
    """

    def __init__(self, directory: Path | None, chosen: str | None) -> None:
        self._directory = directory
        self._chosen = chosen
        self._suites: dict[str, Gathered] = {}
        """By module and name: classes of the same name are different ones."""
        self._interrupted: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the result out of a test's report."""
        if CLAUSE not in report.keywords:
            return
        suite = report.nodeid.partition("[")[0].rpartition("::")[0]
        gathered = self._suites.setdefault(suite, Gathered())
        found = [value for name, value in report.user_properties if name == PROPERTY]
        over = report.when == "call" or not report.passed
        if found and over:
            from perdure_conformance.suite import unpacked

            gathered.carried.append(unpacked(str(found[0])))
        elif report.when == "setup" and not report.passed and gathered.hindered is None:
            gathered.hindered = last_line(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that the run was stopped."""
        self._interrupted = f"the run was interrupted: {str(excinfo.value) or excinfo.typename}"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Note that the run has stopped itself."""
        stopped = session.shouldfail or session.shouldstop
        if stopped and self._interrupted is None:
            self._interrupted = f"the run was stopped: {stopped}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write a report for every class."""
        for suite, gathered in self._suites.items():
            self._report(terminalreporter, self._title(suite), self._judge(suite, gathered))

    def _title(self, suite: str) -> str:
        """The class's name, with its module where another one has that name too."""
        name = suite.rpartition("::")[2]
        alike = [other for other in self._suites if other.rpartition("::")[2] == name]
        return name if len(alike) == 1 else suite.replace("/", ".").replace("::", ".")

    def _judge(self, suite: str, gathered: Gathered) -> Verdict:
        from perdure_conformance.backend import Declaration
        from perdure_conformance.catalogue import ALL_CHECKS
        from perdure_conformance.verdict import pronounce

        obstacles = [each.obstacle for each in gathered.carried if each.obstacle is not None]
        if gathered.carried:
            declaration = gathered.carried[0].declaration
        else:
            declaration = Declaration.unknown(self._title(suite))
            obstacles.append(gathered.hindered or self._interrupted or "no test of it has ended")
        results = [each.result for each in gathered.carried if each.result is not None]
        return pronounce(
            declaration,
            ALL_CHECKS,
            results,
            interrupted=self._interrupted,
            chosen=self._chosen or left_out_by(results),
            obstacle=obstacles[0] if obstacles else None,
        )

    def _report(self, terminal: pytest.TerminalReporter, suite: str, verdict: Verdict) -> None:
        from perdure_conformance.report import as_text, in_short, write_report

        several = len(self._suites) > 1
        terminal.section(f"conformance of {suite}")
        # The failures themselves stand above, as those of all other tests.
        terminal.write_line(in_short(verdict) if several else as_text(verdict))
        if self._directory is not None:
            write_report(verdict, self._directory / suite if several else self._directory)


def left_out_by(results: Iterable[Result]) -> str | None:
    """Why the class has left checks out, or None if it has not."""
    from perdure_conformance.runner import Outcome

    why = dict.fromkeys(r.message for r in results if r.outcome is Outcome.UNTESTED)
    return f"the class leaves checks out: {'; '.join(why)}" if why else None


def last_line(report: pytest.TestReport) -> str:
    """The message of a test that failed in its setup, in one line."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    lines = report.longreprtext.strip().splitlines()
    return lines[-1] if lines else "a test ended in its setup"


def chosen_by(config: pytest.Config) -> str | None:
    """The options that select tests in this run, or None."""
    options: dict[str, Any] = {
        "-k": config.getoption("keyword", ""),
        "-m": config.getoption("markexpr", ""),
        "--deselect": " ".join(config.getoption("deselect", None) or ()),
        "--last-failed": config.getoption("lf", default=False),
        "": " ".join(arg for arg in config.args if "::" in arg),
    }
    words = [
        option if value is True else f"{option} {value}".strip()
        for option, value in options.items()
        if value
    ]
    return (
        f"only some tests ran ({', '.join(words)}): no verdict on the whole contract"
        if words
        else None
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape log lines that could not travel between processes, such as lone surrogates."""
    report = yield
    if CLAUSE in report.keywords:
        report.sections = [
            (title, text.encode("utf-8", "backslashreplace").decode())
            for title, text in report.sections
        ]
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the directory of reports."""
    parser.getgroup("perdure-conformance").addoption(
        "--conformance-report",
        metavar="DIRECTORY",
        default=None,
        help="write conformance.json and conformance.md there (one directory per class, if several)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and the reporter."""
    config.addinivalue_line("markers", f"{CLAUSE}: a check of a storage provider of Perdure")
    chosen = config.getoption("--conformance-report")
    directory = Path(chosen) if isinstance(chosen, str) else None
    reporter = ConformanceReporter(directory, chosen_by(config))
    config.pluginmanager.register(reporter, "perdure-conformance-reporter")
