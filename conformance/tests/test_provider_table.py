"""The table of providers says what the reports say, and the reports are of these providers."""

import json
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from perdure.errors import InvalidInput
from perdure.providers.loader import PROVIDER_GROUP
from perdure_conformance import ALL_CHECKS, Declaration, Outcome, Result, pronounce
from perdure_conformance.command import main
from perdure_conformance.provider_table import (
    BEGIN,
    END,
    NO_REPORT,
    cell_of,
    check_suite,
    rewrite,
    with_cells,
)
from perdure_conformance.report import write_report

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "docs" / "conformance").glob("*.json"))

DOCUMENT = f"""# Providers

{BEGIN}
| package | URL | conformance |
| --- | --- | --- |
| perdure-acme | `acme://here` | of a kind |
| perdure-other | `other:///x` | conformant to everything |
| yours | | you will know |
{END}

| `acme://there` | stays |
"""


@pytest.fixture
def reported(tmp_path):
    """Writes a document and a report, and reads what the document says then."""

    def run(outcome, tested_on=""):
        declaration = Declaration(
            scheme="acme",
            contract=(1, 0),
            capabilities=frozenset(),
            description="acme://here",
            tested_on=tested_on,
        )
        results = [Result(id=check.id, outcome=outcome) for check in ALL_CHECKS]
        write_report(pronounce(declaration, ALL_CHECKS, results), tmp_path / "reports")
        document = tmp_path / "README.md"
        document.write_text(DOCUMENT, encoding="utf-8")
        changed = rewrite(document, [tmp_path / "reports" / "conformance.json"])
        assert changed
        assert not rewrite(document, [tmp_path / "reports" / "conformance.json"])
        return document.read_text(encoding="utf-8").splitlines()

    return run


def test_a_conformant_provider_is_said_to_be(reported):
    lines = reported(Outcome.PASSED)

    assert lines[5].startswith(
        "| perdure-acme | `acme://here` | [conformant to contract 1.0](reports/conformance.md),"
        f" suite {version('perdure-conformance')}, 20"
    )


def test_an_emulator_is_named_in_the_table_and_in_the_report(reported, tmp_path):
    assert reported(Outcome.PASSED, "Acme Local")[5].endswith(", on Acme Local |")
    assert ", on Acme Local.\n" in (tmp_path / "reports" / "conformance.md").read_text("utf-8")


def test_any_other_is_not(reported):
    assert "| [not conformant to contract 1.0](" in reported(Outcome.UNTESTED)[5]


def test_without_a_report_nothing_is_claimed_and_all_else_stays(reported):
    lines = reported(Outcome.PASSED)

    assert lines[6] == f"| perdure-other | `other:///x` | {NO_REPORT} |"
    others = [line for number, line in enumerate(DOCUMENT.splitlines()) if number not in (5, 6)]
    assert [line for number, line in enumerate(lines) if number not in (5, 6)] == others


def test_a_document_without_the_table_is_refused(tmp_path, capsys):
    document = tmp_path / "README.md"
    document.write_text("# Providers\n", encoding="utf-8")

    assert main(["table", str(document)]) == 1
    assert "mark it" in capsys.readouterr().err


def test_a_report_of_another_format_is_refused():
    with pytest.raises(InvalidInput, match="format 0"):
        cell_of({"format": 0}, "x.md")


@pytest.mark.parametrize("change", ["lacks", "has another", "promises something else"])
def test_a_report_of_a_suite_with_other_checks_is_refused(reported, tmp_path, capsys, change):
    reported(Outcome.PASSED)
    path = tmp_path / "reports" / "conformance.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    checks = report["checks"]
    if change == "lacks":
        checks.pop(0)
    elif change == "has another":
        checks.append({**checks[0], "id": "CALL-99"})
    else:
        checks[0]["promise"] = "Something else."
    path.write_text(json.dumps(report), encoding="utf-8")

    assert main(["table", str(tmp_path / "README.md"), str(path)]) == 1
    which = "CALL-99" if change == "has another" else "CALL-1"
    assert capsys.readouterr().err == (
        "the report behind reports/conformance.md was written by a suite with other checks"
        f" ({which}); run the suite again, and report that\n"
    )


def test_the_readme_says_what_the_reports_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    cells = {
        path.stem: cell_of(json.loads(path.read_text("utf-8")), f"docs/conformance/{path.stem}.md")
        for path in REPORTS
    }

    assert with_cells(text, cells) == text, "run `nox -s providers`"


def test_there_are_reports_of_what_needs_no_server():
    assert {"memory", "sqlite"} <= {path.stem for path in REPORTS}


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_is_of_the_provider_and_the_suite_that_are_here(path):
    report = json.loads(path.read_text(encoding="utf-8"))
    (entry,) = entry_points(group=PROVIDER_GROUP, name=path.stem)
    (spec,) = entry.load().perdure_provider_specs()

    provider = report["provider"]
    assert (provider["scheme"], provider["contract"]) == (spec.scheme, list(spec.contract))
    assert set(provider["capabilities"]) == spec.capabilities
    assert (provider["distribution"], provider["version"]) == (entry.dist.name, entry.dist.version)
    assert report["suite"]["version"] == version("perdure-conformance"), "run `nox -s providers`"
    check_suite(report, path.name)
    assert path.with_suffix(".md").exists()
