"""The documents agree with the code and with one another."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from perdure import Exponential, RetryPolicy, RuntimeOptions, errors, observe
from perdure.contract import hooks
from perdure.model import application_errors
from perdure_conformance.catalogue import ALL_CHECKS

from .markdown import (
    ROOT,
    captions,
    documents,
    excerpts,
    headings,
    links,
    shown_files,
    stands_in,
)

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


def test_an_excerpt_has_the_lines_of_its_file() -> None:
    shown = [each for document in DOCUMENTS for each in excerpts(document)]

    assert len(shown) > 10
    assert [(name, lines) for name, lines in shown if not stands_in(lines, source_of(name))] == []


def source_of(name: str) -> str:
    """The file; of a template, what it becomes for the scheme `acme`."""
    text = (ROOT / name).read_text("utf-8")
    return text.replace("__scheme__", "acme").replace("__Scheme__", "Acme")


def test_the_first_excerpt_of_a_program_is_followed_by_a_link_to_it() -> None:
    unlinked: list[str] = []
    for document in DOCUMENTS:
        first = dict(reversed(captions(document)))  # the first one of each wins
        for name, after in first.items():
            target = os.path.relpath(ROOT / name, document.parent)
            if f"]({target})" not in after:
                unlinked.append(f"{document.relative_to(ROOT)}: {name}")

    assert unlinked == []


def test_an_excerpt_that_is_not_in_its_file_is_found() -> None:
    source = "def f():\n    a = 1\n    b = 2\n    c = 3\n"

    assert stands_in("a = 1\nb = 2\n", source)
    assert stands_in("a = 1\n# …\nc = 3\n", source)
    assert not stands_in("a = 1\nc = 3\n", source)
    assert not stands_in("c = 3\n# …\na = 1\n", source)


def test_every_block_of_python_is_run_or_comes_from_a_program_that_is() -> None:
    marked = re.compile(r"^<!-- (?:file|from|other): .+ -->\n\n```py$", re.MULTILINE)
    texts = {document.name: document.read_text("utf-8") for document in DOCUMENTS}
    unmarked = [
        name
        for name, text in texts.items()
        if len(re.findall(r"^```py$", text, re.MULTILINE)) != len(marked.findall(text))
    ]

    assert unmarked == []


def test_every_program_of_the_examples_is_shown_by_a_page() -> None:
    shown = {name for document in DOCUMENTS for name, _ in excerpts(document)}
    shown |= {name for document in DOCUMENTS for name, _ in shown_files(document)}
    programs = {str(path.relative_to(ROOT)) for path in (ROOT / "examples/how-to").glob("*.py")}

    assert programs - shown == set()


def test_a_guide_shows_the_files_of_its_supervisor_whole() -> None:
    guides = [path for path in DOCUMENTS if path.name.startswith("deploy-")]
    shown = {name for guide in guides for name, _ in shown_files(guide)}
    kinds = {".service", ".yaml", ".txt", ""}
    wanted = [path for path in (ROOT / "examples/deploy").rglob("*") if path.is_file()]
    blocks = re.compile(r"^```(?:ini|yaml|dockerfile)$", re.MULTILINE)
    marked = re.compile(r"^<!-- file: .+ -->\n\n```(?:ini|yaml|dockerfile)$", re.MULTILINE)
    texts = [guide.read_text("utf-8") for guide in guides]

    names = {str(path.relative_to(ROOT)) for path in wanted if path.suffix in kinds}
    assert len(names) >= 7
    assert names - shown == set()
    assert [text for text in texts if len(blocks.findall(text)) != len(marked.findall(text))] == []


def test_the_index_leads_to_every_page_once() -> None:
    docs = ROOT / "docs"
    linked = [(docs / target).resolve() for target in links(docs / "index.md")]
    pages = {
        path
        for path in docs.rglob("*.md")
        if not {"conformance", "decisions", "tests"} & set(path.parts)
    }
    pages |= {docs / "explain" / "decisions" / "README.md"}

    assert {path.name for path in pages - {docs / "index.md"} - set(linked)} == set()
    assert len(linked) == len(set(linked))


def test_every_promise_is_said_in_the_words_of_users() -> None:
    explain = ROOT / "docs" / "explain"
    cases = re.findall(
        r"^\*\*(SCENARIO-\w+)\.\*\*", (explain / "cases.md").read_text("utf-8"), re.MULTILINE
    )
    said = re.findall(r"SCENARIO-\w+", (explain / "promises.md").read_text("utf-8"))

    assert len(cases) > 50
    assert set(cases) ^ set(said) == set()


def test_the_catalogue_counts_the_checks_of_each_family() -> None:
    catalogue = (ROOT / "docs" / "build-on-it" / "checks.md").read_text("utf-8")
    counted = re.findall(r"^\| ([A-Z]+) \| (\d+) \|", catalogue, re.MULTILINE)

    families = Counter(check.family for check in ALL_CHECKS)
    assert {family: int(count) for family, count in counted} == families


def test_each_of_the_forty_questions_is_answered_on_two_pages_at_most() -> None:
    text = (ROOT / "docs" / "tests" / "questions.md").read_text("utf-8")
    questions = re.findall(r"^(\d+)\. (.+) → (.+)$", text, re.MULTILINE)

    assert [int(number) for number, _, _ in questions] == list(range(1, 41))
    assert [where for _, _, where in questions if not 1 <= where.count("](") <= 2] == []


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
    text = (ROOT / "docs" / "operate" / "settings.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)

    assert dict(rows) == {
        field.name: _as_written(field.default) for field in dataclasses.fields(RuntimeOptions)
    }


def test_every_field_of_a_retry_policy_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "write" / "time-limits-and-retries.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", text, re.MULTILINE)

    defaults = {field.name: field.default for field in dataclasses.fields(RetryPolicy)}
    assert dict(rows) == {
        name: "Exponential()" if value == Exponential() else str(value)
        for name, value in defaults.items()
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
