"""Authors see every field of every record: by `help()`, and on a page that is generated."""

import inspect
import io
import pydoc
from dataclasses import fields
from pathlib import Path

import perdure.contract
import pytest
from perdure.model.record import docs_of_fields
from perdure_conformance.command import main
from perdure_conformance.records_page import page, records

PAGE = Path(__file__).parents[2] / "docs" / "build-on-it" / "records.md"


def test_the_page_is_what_the_command_prints(capsys):
    assert main(["records"]) == 0

    assert capsys.readouterr().out == page()
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), (
        "write it: python -m perdure_conformance records > docs/build-on-it/records.md"
    )


@pytest.mark.parametrize("record", list(records()), ids=lambda record: record.__name__)
def test_every_field_of_a_record_is_on_the_page_and_in_help(record):
    shown = io.StringIO()
    pydoc.Helper(output=shown).help(record)
    section = page().partition(f"## {record.__name__}\n")[2].partition("\n## ")[0]

    for each in fields(record):
        assert f"| `{each.name}` | " in section
        assert each.name in shown.getvalue()
    assert "|  |\n" not in section, "a field has no docstring"


def test_help_of_a_field_is_the_docstring_below_it():
    record = perdure.contract.TurnCommit
    docs = docs_of_fields(record)

    assert len(docs) > 10
    for name, text in docs.items():
        assert inspect.getdoc(getattr(record, name)) == text


def test_the_records_of_the_contract_are_all_there():
    names = {record.__name__ for record in records()}

    assert {"TurnCommit", "Message", "NewInstance", "LeasedActivity", "InstanceQuery"} <= names
