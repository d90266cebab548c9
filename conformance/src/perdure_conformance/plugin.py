"""The pytest plugin: gathers the results of `ProviderConformance` classes, and reports on them.

Results travel in the test reports themselves, so it makes no difference whether tests run in
this process or in workers. A class of which not every check has a result is not conformant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perdure_conformance.suite import Carried


PROPERTY = "perdure_conformance"
"""The name under which a test's result travels in its report, over processes too."""


class ConformanceReporter:
    """Keeps results by class until the run is over.

    The suite is imported only where there are results: the plugin is loaded in every run of
    pytest, whether or not it has to do with providers.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._suites: dict[str, list[Carried]] = {}
        self._interrupted: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the result out of a test's report."""
        found = [value for name, value in report.user_properties if name == PROPERTY]
        if report.when == "call" and found:
            from perdure_conformance.suite import unpacked

            carried = unpacked(str(found[0]))
            self._suites.setdefault(carried.suite, []).append(carried)

    def pytest_keyboard_interrupt(self) -> None:
        """Note that the run was stopped."""
        self._interrupted = "the run was interrupted"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write a report for every class."""
        for suite, carried in self._suites.items():
            self._report(terminalreporter, suite, carried)

    def _report(
        self, terminal: pytest.TerminalReporter, suite: str, carried: list[Carried]
    ) -> None:
        from perdure_conformance.everything import EVERYTHING
        from perdure_conformance.report import as_text, write_report
        from perdure_conformance.verdict import pronounce

        verdict = pronounce(
            carried[0].declaration,
            EVERYTHING,
            [each.result for each in carried],
            interrupted=self._interrupted,
        )
        terminal.section(f"conformance of {suite}")
        terminal.write_line(as_text(verdict))
        if self._directory is not None:
            several = len(self._suites) > 1
            write_report(verdict, self._directory / suite if several else self._directory)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says where reports go."""
    parser.getgroup("perdure-conformance").addoption(
        "--conformance-report",
        metavar="DIRECTORY",
        default=None,
        help="write conformance.json and conformance.md there (one directory per class, if several)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the reporter."""
    chosen = config.getoption("--conformance-report")
    directory = Path(chosen) if isinstance(chosen, str) else None
    config.pluginmanager.register(ConformanceReporter(directory), "perdure-conformance-reporter")
