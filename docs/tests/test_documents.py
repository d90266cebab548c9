"""The documents agree with the code and with one another."""

from __future__ import annotations

import dataclasses
import inspect
import re
from datetime import timedelta
from pathlib import Path

import pytest
from perdure import RuntimeOptions, errors, observe
from perdure.contract import hooks
from perdure.model import application_errors

from .markdown import ROOT, documents, headings, links, shown_files

DOCUMENTS = documents()
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = [target for target in links(document) if not _resolves(document, target)]

    assert broken == []


def _resolves(document: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    if not file.exists() or not file.is_relative_to(ROOT):
        return False
    return not anchor or (file.suffix == ".md" and anchor in headings(file))


def test_a_file_is_shown_as_it_is() -> None:
    shown = [each for document in DOCUMENTS for each in shown_files(document)]

    assert len(shown) >= 3
    assert [name for name, source in shown if (ROOT / name).read_text("utf-8") != source] == []


def test_the_index_leads_to_every_page_once() -> None:
    docs = ROOT / "docs"
    linked = [(docs / target).resolve() for target in links(docs / "index.md")]
    pages = {
        path
        for path in docs.rglob("*.md")
        if "conformance" not in path.parts and "decisions" not in path.parts
    }
    pages |= {docs / "explain" / "decisions" / "README.md"}

    assert {path.name for path in pages - {docs / "index.md"} - set(linked)} == set()
    assert len(linked) == len(set(linked))


def test_every_error_has_its_place_in_the_document() -> None:
    public = {
        name.lower()
        for module in (errors, application_errors)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, errors.PerdureError) and not name.startswith("_")
    }

    described = headings(ROOT / "docs" / "look-up" / "errors.md")

    assert public - described == set()


def test_no_error_is_described_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "look-up" / "errors.md").read_text("utf-8")

    described = re.findall(r"^#+ `(\w+)`$", text, re.MULTILINE)

    assert len(described) > 20
    homes = (errors, application_errors)
    strays = [name for name in described if not any(hasattr(home, name) for home in homes)]
    assert strays == []


def test_every_hook_is_documented() -> None:
    text = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    names = [name for name, value in vars(hooks).items() if hasattr(value, "perdure_spec")]

    assert len(names) >= 3
    assert [name for name in names if f"`{name}" not in text] == []


def test_every_runtime_event_is_documented() -> None:
    text = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    names = [kind.__name__ for kind in observe.RuntimeEvent.__args__]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_setting_of_a_runtime_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "operate" / "runtime.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)

    assert dict(rows) == {
        field.name: _as_written(field.default) for field in dataclasses.fields(RuntimeOptions)
    }


def _as_written(value: object) -> str:
    match value:
        case timedelta():
            units = {"day": 86400, "min": 60, "s": 1, "ms": 0.001}
            name, seconds = next(
                (name, unit) for name, unit in units.items() if value.total_seconds() >= unit
            )
            return f"{round(value.total_seconds() / seconds)} {name}"
        case frozenset():
            return "untagged"
        case _:
            return f"`{value}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_sentence_has_a_line_of_its_own(document: Path) -> None:
    crowded = [
        line
        for line in document.read_text("utf-8").splitlines()
        if not line.startswith(("|", "    ", "#")) and re.search(r"[a-z)`]\. [A-Z][a-z]+ ", line)
    ]

    assert crowded == []
