"""The rows of the semantics: each is documented, and its checks notice what breaks it."""

import re
from pathlib import Path

from perdure_conformance.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
SEMANTICS = (ROOT / "docs" / "explain" / "cases.md").read_text(encoding="utf-8")
NEEDS = r"(?: \*\(providers that declare `\w+`\)\*)?"
LATER = {29, 30, 31}


def number_of(row):
    return int(row.id.removeprefix("SCENARIO-").rstrip("abcdefgh"))


def test_the_document_says_what_the_checks_say():
    documented = re.findall(rf"^\*\*(SCENARIO-\w+)\.\*\* (.+?){NEEDS}$", SEMANTICS, re.MULTILINE)

    assert dict(documented) == {row.id: row.promise for row in SCENARIOS}
    assert len(documented) == len(SCENARIOS)


def test_every_row_is_there_but_those_of_a_later_contract():
    assert {number_of(row) for row in SCENARIOS} == {*range(1, 46), 52} - LATER


def test_no_row_has_the_id_of_another():
    ids = [row.id for row in SCENARIOS]

    assert len(ids) == len(set(ids))
