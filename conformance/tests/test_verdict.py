"""The verdict and its reports: nothing but a whole and clean run is conformant."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import ClassVar

import pytest
from perdure.contract import MANAGEMENT, PERSISTENT
from perdure_conformance import (
    ALL_CHECKS,
    CLAUSES,
    Check,
    ClauseBroken,
    Declaration,
    Outcome,
    ProviderConformance,
    Result,
    backend,
    command,
    suite,
)
from perdure_conformance.broken_providers import StoreBackend, breaks
from perdure_conformance.check import check
from perdure_conformance.command import main
from perdure_conformance.model import Store
from perdure_conformance.report import as_json, as_markdown, as_text, write_report
from perdure_conformance.runner import binds, judge
from perdure_conformance.suite import Carried, packed, unpacked
from perdure_conformance.verdict import pronounce

DECLARED = Declaration(
    scheme="acme",
    contract=(1, 0),
    capabilities=frozenset({MANAGEMENT}),
    description="acme://x",
    distribution="perdure-acme",
    version="3.2.1",
)


def results(changed=None, outcome=Outcome.FAILED):
    for clause in CLAUSES:
        if clause.id == changed:
            yield Result(id=clause.id, outcome=outcome, message="the reason")
        elif binds(clause, DECLARED):
            yield Result(id=clause.id, outcome=Outcome.PASSED)
        else:
            yield Result(id=clause.id, outcome=Outcome.UNSUPPORTED)


def test_a_whole_and_clean_run_is_conformant():
    verdict = pronounce(DECLARED, CLAUSES, results())

    assert verdict.conformant
    assert "acme (perdure-acme 3.2.1) is conformant to contract 1.0" in as_text(verdict)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome.FAILED, "required checks failed: LEASE-3"),
        (Outcome.EXPECTED_FAILURE, "as expected: LEASE-3"),
        (Outcome.UNTESTED, "did not run: LEASE-3"),
        (Outcome.UNSUPPORTED, "were skipped"),
    ],
)
def test_one_check_without_success_is_enough(outcome, why):
    verdict = pronounce(DECLARED, CLAUSES, results("LEASE-3", outcome))

    assert not verdict.conformant
    assert why in as_text(verdict)
    assert "NOT conformant" in as_text(verdict)


def test_nothing_at_all_is_not_conformant():
    verdict = pronounce(DECLARED, CLAUSES, [])

    assert not verdict.conformant
    assert "no check ran and passed" in verdict.reasons


def test_an_interrupted_run_is_not_conformant_even_if_all_passed():
    verdict = pronounce(DECLARED, CLAUSES, results(), interrupted="the run was interrupted")

    assert verdict.reasons == ["the run was interrupted"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_check_that_failed_once_has_failed_however_often_it_passed(order):
    both = [*results("LEASE-3"), *results()][::order]

    verdict = pronounce(DECLARED, CLAUSES, both)

    assert not verdict.conformant
    assert "required checks failed: LEASE-3" in as_text(verdict)


def test_a_declared_capability_brings_its_checks():
    more = Declaration(
        scheme="acme",
        contract=(1, 0),
        capabilities=frozenset({MANAGEMENT, PERSISTENT}),
        description="acme://x",
    )

    verdict = pronounce(more, CLAUSES, results())

    assert any("DURABLE-1" in reason for reason in verdict.reasons)


def test_a_check_of_a_later_contract_does_not_bind():
    later = Check(id="NEW-1", promise="New.", run=CLAUSES[0].run, since=(1, 2))

    assert not binds(later, DECLARED)
    assert judge(later, StoreBackend()).message == "the clause came with contract 1.2"


def test_the_json_report_says_everything():
    document = json.loads(as_json(pronounce(DECLARED, CLAUSES, results("ACT-3"))))

    assert document["conformant"] is False
    assert document["provider"]["version"] == "3.2.1"
    assert document["suite"]["contract"] == [1, 1]
    assert [each["id"] for each in document["checks"]] == [clause.id for clause in CLAUSES]
    (failed,) = (each for each in document["checks"] if each["outcome"] == "failed")
    assert (failed["id"], failed["message"]) == ("ACT-3", "the reason")


def test_the_markdown_report_has_every_clause(tmp_path):
    verdict = pronounce(DECLARED, CLAUSES, results("ACT-3"))

    write_report(verdict, tmp_path / "new")

    text = (tmp_path / "new" / "conformance.md").read_text(encoding="utf-8")
    assert text == as_markdown(verdict)
    assert all(f"| {clause.id} |" in text for clause in CLAUSES)
    assert "the reason" in text


def test_a_result_travels_as_text():
    carried = Carried(
        suite="TestAcme",
        declaration=DECLARED,
        result=Result(id="ACT-1", outcome=Outcome.FAILED, message="é\n'", seconds=1.5),
    )

    assert unpacked(packed(carried)) == carried


def test_a_check_cannot_be_overridden():
    with pytest.raises(TypeError, match="overrides test_clause"):
        type("TestAcme", (ProviderConformance,), {"test_clause": lambda self: None})


def test_an_expected_failure_must_be_of_a_clause():
    with pytest.raises(TypeError, match="MAIL-99"):
        type("TestAcme", (ProviderConformance,), {"expected_failures": {"MAIL-99": "why"}})


class Suite(ProviderConformance):
    __test__ = False
    expected_failures: ClassVar = {"MAIL-2": "timers are not done yet"}


@breaks("MAIL-2")
class DeliversTheFuture(Store):
    def is_visible(self, entry):
        return True


def test_an_expected_failure_is_listed_and_does_not_fail_the_test():
    recorded = {}
    (clause,) = (each for each in CLAUSES if each.id == "MAIL-2")

    with pytest.raises(pytest.xfail.Exception, match="timers are not done yet"):
        Suite().test_clause(clause, DeliversTheFuture.make(), recorded.__setitem__)

    result = unpacked(recorded["perdure_conformance"]).result
    assert result.outcome is Outcome.EXPECTED_FAILURE


def test_an_expected_failure_that_passes_fails_the_test():
    recorded = {}
    (clause,) = (each for each in CLAUSES if each.id == "MAIL-2")

    with pytest.raises(pytest.fail.Exception, match="remove it"):
        Suite().test_clause(clause, StoreBackend(), recorded.__setitem__)


def test_a_failure_says_what_was_promised_and_what_was_found():
    recorded = {}
    (clause,) = (each for each in CLAUSES if each.id == "MAIL-3")

    class Reversed(Store):
        def order(self, entry):
            return tuple(-part for part in super().order(entry))

    with pytest.raises(pytest.fail.Exception, match="MAIL-3: The start is first.*\n.*found"):
        Suite().test_clause(clause, StoreBackend(store=Reversed), recorded.__setitem__)


def test_the_command_certifies_nothing_that_it_filtered(capsys, tmp_path):
    assert main(["memory://verdict", "--only", "CALL-5", "--report", str(tmp_path)]) == 3

    assert "conformant" not in capsys.readouterr().out
    report = json.loads((tmp_path / "conformance.json").read_text("utf-8"))
    assert report["conformant"] is False


def test_a_run_of_some_checks_speaks_of_these_alone(capsys):
    assert main(["memory://verdict", "--only", "CALL-5", "CREATE-1"]) == 3

    said = capsys.readouterr()
    assert [line.split()[0] for line in said.err.splitlines()] == ["CALL-5", "CREATE-1"]
    lines = [line for line in said.out.splitlines() if line]
    assert [line.split()[0] for line in lines[:4]] == ["family", "CALL", "CREATE", "all"]
    assert lines[4:] == [
        f"memory (perdure-memory {version('perdure-memory')}): 2 of 2 chosen checks passed",
        "  - only CALL-5, CREATE-1 ran: no verdict on the whole contract",
    ]


@pytest.mark.parametrize(
    ("only", "ids"),
    [
        (["COMMIT-2"], ["COMMIT-2"]),
        (["READ", "VALUES-1"], ["READ-1", "VALUES-1"]),
        (["MMIT-1", "MODEL"], ["COMMIT-1", *(f"COMMIT-{n}" for n in range(10, 20)), "MODEL-1"]),
    ],
    ids=["id", "family", "text"],
)
def test_the_command_lists_the_checks_that_texts_choose(capsys, only, ids):
    assert main(["--list", "--only", *only]) == 0

    lines = capsys.readouterr().out.splitlines()
    promises = {check.id: check.promise for check in CLAUSES}
    assert lines == [f"{each:<12} {promises[each]}" for each in ids]


def test_the_command_lists_all_checks(capsys):
    assert main(["--list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [check.id for check in ALL_CHECKS]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["memory://x", "--only", "COMMIT", "CALLS"], "no check has 'CALLS' in its id"),
        ([], "the URL of a storage is missing"),
    ],
)
def test_the_command_refuses_what_it_cannot_run(capsys, words, why):
    with pytest.raises(SystemExit):
        main(words)

    assert why in capsys.readouterr().err


def test_a_report_says_what_no_check_tries(capsys):
    verdict = pronounce(DECLARED, CLAUSES, results())

    for text in (as_text(verdict), as_markdown(verdict), as_json(verdict)):
        assert "a crash or a failover of the storage's server" in text
        assert "clocks of other machines" in text


def test_a_note_of_a_check_that_passed_is_in_the_report():
    noted = [
        Result(id=each.id, outcome=each.outcome, message="60 examples")
        if each.id == "MODEL-1"
        else each
        for each in results()
    ]

    verdict = pronounce(DECLARED, CLAUSES, noted)

    assert verdict.conformant
    assert "MODEL-1: 60 examples" in as_text(verdict)
    assert "MODEL-1: 60 examples" in as_markdown(verdict)


def test_what_a_class_may_leave_out_is_a_check_or_a_family():
    with pytest.raises(TypeError, match="MAILS"):
        type("TestAcme", (ProviderConformance,), {"left_out": {"MAILS": "why"}})


def test_the_command_and_pytest_judge_the_same_checks_in_the_same_way(monkeypatch):
    judged = []

    def note(check, backend):
        judged.append(check)
        return Result(id=check.id, outcome=Outcome.PASSED)

    assert command.judge is suite.judge
    monkeypatch.setattr(command, "judge", note)
    main(["memory://verdict"])

    [parameters] = [
        mark.args
        for mark in ProviderConformance.test_clause.pytestmark
        if mark.name == "parametrize"
    ]
    assert parameters == ("check", tuple(judged))


def test_the_command_refuses_a_namespace_of_the_callers(capsys):
    assert main(["memory://verdict?namespace=mine"]) == 2
    assert "chooses a namespace" in capsys.readouterr().out


def test_the_command_gives_up_a_storage_that_does_not_open(capsys, monkeypatch):
    @asynccontextmanager
    async def hangs(url, **named):
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(backend, "open_provider", hangs)
    monkeypatch.setattr(backend, "OPENING", 0.05)

    assert main(["memory://slow"]) == 2

    said = capsys.readouterr().out
    assert "memory://slow could not be opened within" in said
    assert "NOT conformant" in said


def test_the_command_says_why_a_backend_is_out_of_reach(capsys):
    assert main(["nothing://here"]) == 2
    assert "ProviderNotInstalled" in capsys.readouterr().out


def test_the_command_says_once_that_openings_do_not_see_each_other(capsys, tmp_path):
    assert main(["memory://", "--report", str(tmp_path)]) == 2

    said = capsys.readouterr()
    assert "two openings of memory:// do not see each other" in said.out
    assert "such as memory://x" in said.out
    assert "memory (perdure-memory 0.1.0) is NOT conformant" in said.out
    assert said.err == ""
    report = json.loads((tmp_path / "conformance.json").read_text(encoding="utf-8"))
    assert report["conformant"] is False
    assert len(report["reasons"]) == 1


def test_what_is_unsupported_is_listed_with_the_reason(capsys):
    main(["memory://unsupported", "--only", "DURABLE"])

    why = "(memory does not declare the capability 'persistent')"
    assert f"unsupported: DURABLE-1, DURABLE-2 {why}" in capsys.readouterr().out


def few(monkeypatch, *bodies):
    """Let the command know a few checks only."""
    checks = [check(f"TEST-{number}")(body) for number, body in enumerate(bodies, 1)]
    monkeypatch.setattr(command, "ALL_CHECKS", checks)


async def keeps(bench):
    """It is kept."""


async def breaks_noisily(bench):
    """It is broken."""
    logging.getLogger("perdure.runtime").warning("the process is gone")
    raise ClauseBroken("that is how")


async def keeps_noisily(bench):
    """It is kept, and heard."""
    logging.getLogger("perdure.runtime").warning("all is well again")


def test_what_was_logged_is_shown_with_the_check_that_failed_alone(monkeypatch, capsys):
    few(monkeypatch, keeps_noisily, breaks_noisily)

    assert main(["memory://noise"]) == 1

    said = capsys.readouterr().out
    assert (
        "that is how\n  logged meanwhile:\n  WARNING perdure.runtime: the process is gone" in said
    )
    assert "all is well again" not in said


def test_a_command_that_was_stopped_says_so(monkeypatch, capsys):
    few(monkeypatch, keeps, breaks_noisily, keeps)

    assert main(["memory://stopped", "--stop"]) == 1

    said = capsys.readouterr().out
    assert "the run was stopped at the first failure" in said
    assert "1 of 3 required checks did not run: TEST-3" in said


def test_a_command_that_was_interrupted_says_so(monkeypatch, capsys):
    few(monkeypatch, keeps, keeps, keeps)
    judged = command.judge

    def interrupted_at_the_second(clause, backend):
        if clause.id == "TEST-2":
            raise KeyboardInterrupt
        return judged(clause, backend)

    monkeypatch.setattr(command, "judge", interrupted_at_the_second)

    assert main(["memory://interrupted"]) == 1

    said = capsys.readouterr().out
    assert "the run was interrupted" in said
    assert "2 of 3 required checks did not run: TEST-2, TEST-3" in said


def test_a_command_that_was_interrupted_before_its_first_check_says_so(monkeypatch, capsys):
    def interrupted(backend):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "find_obstacle", interrupted)

    assert main(["memory://interrupted"]) == 2

    said = capsys.readouterr().out
    assert "it could not be tested: the run was interrupted" in said
    assert "NOT conformant" in said


@pytest.mark.slow
def test_the_terminal_shows_nothing_but_checks_and_the_verdict():
    words = [sys.executable, "-m", "perdure_conformance", "memory://quiet", "--only", "SCENARIO-19"]

    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)

    lines = done.stderr.splitlines()
    assert lines != []
    assert [line for line in lines if not re.fullmatch(r"SCENARIO-19\w? +\w+", line)] == []
