"""Runs of a part, or of nothing, with pytest: no verdict on the whole contract, and they say why."""

import json
import re

import pytest
from perdure_conformance import ALL_CHECKS, preflight

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

HEAD = """
import asyncio
from contextlib import asynccontextmanager

import pytest
from perdure_conformance import ProviderConformance
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.model import ModelProvider


class Small(ModelProvider):
    finish_limit = 1
"""


@pytest.fixture(autouse=True)
def _own_event_loops(monkeypatch):
    # The suite needs no plugin for asynchronous tests, and its own tests here have none either.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def suite(pytester):
    """Writes a class that an author could have, and runs pytest on it."""

    def run(body, *arguments, plugins=("perdure_conformance.plugin",)):
        indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
        pytester.makepyfile(f"{HEAD}\n\nclass TestAcme(ProviderConformance):\n{indented}\n")
        used = [word for plugin in plugins for word in ("-p", plugin)]
        return pytester.runpytest_inprocess(*used, *arguments, no_reraise_ctrlc=True)

    return run


WHOLE = """
@pytest.fixture
def conformance_backend(self):
    return StoreBackend()
"""
SMALL = WHOLE.replace("()", "(provider=Small)")


def said(result):
    return "\n".join(result.outlines)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-k", "CALL-5 or CALL-8"], "only some tests ran (-k CALL-5 or CALL-8)"),
        (["--maxfail=1", "-k", "CALL"], "the run was stopped: stopping after 1 failures"),
        (["-x", "-k", "CALL"], "the run was stopped: stopping after 1 failures"),
        (
            ["test_a_part_speaks_of_itself_alone.py::TestAcme::test_clause[CALL-8]"],
            "only some tests ran (test_a_part_speaks",
        ),
    ],
)
def test_a_part_speaks_of_itself_alone(suite, arguments, why):
    result = suite(SMALL, *arguments)

    assert why in said(result)
    assert "did not run" not in said(result)
    assert "conformant" not in said(result).partition("conformance of")[2]


def test_a_part_that_passed_says_so_and_lists_only_what_ran(suite):
    result = suite(WHOLE, "-k", "CALL-5 or READ-1")

    summary = said(result).partition("conformance of TestAcme")[2]
    assert "model: 2 of 2 chosen checks passed" in summary
    assert re.findall(r"^([A-Z]+) ", summary, re.MULTILINE) == ["CALL", "READ"]


def test_a_class_that_leaves_checks_out_says_so_and_speaks_of_the_others(suite):
    families = {check.family for check in ALL_CHECKS} - {"CALL"}
    left_out = dict.fromkeys(families, "another session plays them")

    result = suite(f"left_out = {left_out!r}\n{WHOLE}")

    summary = said(result).partition("conformance of TestAcme")[2]
    assert "chosen checks passed" in summary
    assert "the class leaves checks out: another session plays them" in summary
    assert "conformant" not in summary


def test_what_was_deselected_is_told(suite):
    name = "test_what_was_deselected_is_told.py::TestAcme::test_clause"
    families = {check.family for check in ALL_CHECKS} - {"CALL"}

    result = suite(WHOLE, *(f"--deselect={name}[{family}" for family in families))

    assert "only some tests ran (--deselect" in said(result)
    assert "chosen checks passed" in said(result)


def test_a_part_that_workers_ran_is_told(suite):
    pytest.importorskip("xdist")

    result = suite(WHOLE, "-n", "2", "-k", "CALL", plugins=("xdist", "perdure_conformance.plugin"))

    assert result.parseoutcomes()["passed"] >= 10
    assert "only some tests ran (-k CALL)" in said(result)
    assert "chosen checks passed" in said(result)


def test_an_interrupted_run_is_never_conformant_and_says_why(suite):
    result = suite(
        """
@pytest.fixture
def conformance_backend(self, request):
    if "CALL-3" in request.node.name:
        raise KeyboardInterrupt
    return StoreBackend()
"""
    )

    assert "the run was interrupted: KeyboardInterrupt" in said(result)
    assert "required checks did not run: CALL-3" in said(result)
    assert "model is NOT conformant" in said(result)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("memory://", "two openings of memory:// do not see each other"),
        ("nothing://here", "nothing://here could not be opened: ProviderNotInstalled"),
        ("memory://x?namespace=mine", "chooses a namespace"),
        ("memory://x?color=red", "could not be opened: InvalidProviderOption"),
    ],
)
def test_what_cannot_be_tested_fails_once_and_says_why(suite, url, why):
    body = f"@pytest.fixture\ndef provider_url(self):\n    return {url!r}"

    result = suite(body, "--conformance-report=report")

    outcomes = result.parseoutcomes()
    assert outcomes["errors" if "errors" in outcomes else "error"] == 1
    assert "passed" not in outcomes
    assert "failed" not in outcomes
    assert "it could not be tested" in said(result)
    assert why in said(result)
    assert "NOT conformant" in said(result)


def test_a_report_of_an_earlier_run_does_not_outlive_one_that_could_not_test(suite, pytester):
    stale = pytester.path / "report" / "conformance.json"
    stale.parent.mkdir()
    stale.write_text('{"conformant": true}', encoding="utf-8")

    suite(
        "@pytest.fixture\ndef provider_url(self):\n    pytest.skip('no server here')",
        "--conformance-report=report",
    )

    report = json.loads(stale.read_text(encoding="utf-8"))
    assert report["conformant"] is False
    assert report["reasons"] == ["it could not be tested: Skipped: no server here"]


def test_a_fixture_that_fails_is_named_in_the_verdict(suite):
    result = suite("pass", "-k", "CALL-1")

    assert "has no fixture provider_url" in said(result)
    assert "TestAcme is NOT conformant" in said(result)


@pytest.mark.parametrize("call", ["open", "create_instance"])
def test_a_provider_that_hangs_is_given_up_once(suite, monkeypatch, call):
    monkeypatch.setattr(preflight, "PATIENCE", 0.1)
    hangs = {
        "open": """
@asynccontextmanager
async def open(self, *, clock, namespace):
    await asyncio.Event().wait()
    yield
""",
        "create_instance": """
@asynccontextmanager
async def open(self, *, clock, namespace):
    class Hangs(ModelProvider):
        async def create_instance(self, new):
            await asyncio.Event().wait()

    async with StoreBackend(provider=Hangs).open(clock=clock, namespace=namespace) as provider:
        yield provider
""",
    }[call]

    result = suite(
        f"class Hanging(StoreBackend):\n{'    '.join(hangs.splitlines(keepends=True))}\n"
        "@pytest.fixture\ndef conformance_backend(self):\n    return self.Hanging()"
    )

    assert result.parseoutcomes()["errors" if "errors" in result.parseoutcomes() else "error"] == 1
    assert "took longer than 0.1 s" in said(result)
    assert "model is NOT conformant" in said(result)


def test_classes_of_the_same_name_are_judged_apart(suite, pytester):
    text = f"{HEAD}\n\nclass TestAcme(ProviderConformance):\n" + "".join(
        f"    {line}\n" for line in SMALL.strip().splitlines()
    )
    pytester.makepyfile(test_another=text)

    result = suite(WHOLE, "-k", "CALL-5 or CALL-8", "--conformance-report=report")

    assert "conformance of test_another.py.TestAcme" in said(result)
    reports = sorted(path.parent.name for path in pytester.path.glob("report/*/conformance.json"))
    assert reports == [
        "test_another.py.TestAcme",
        "test_classes_of_the_same_name_are_judged_apart.py.TestAcme",
    ]
    counts = [
        json.loads((pytester.path / "report" / name / "conformance.json").read_text("utf-8"))
        for name in reports
    ]
    assert [each["counts"]["failed"] for each in counts] == [1, 0]
