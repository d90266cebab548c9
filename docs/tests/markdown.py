"""Reads the repository's Markdown: its documents, their Python blocks, headings and links.

A `python` block is a program of the document's own. A block after the comment
`<!-- file: PATH -->` shows a file of the repository, in whatever language, and one after
`<!-- from: PATH -->` lines of such a file: each run of lines stands in the file as it is shown, in
the same order, and a line `# …` stands for lines that are left out. A `text` block after
`<!-- output: PATH -->` shows what the program prints, and a `py` block after
`<!-- other: NAME -->` the code of another system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
CONTINUES = "<!-- test: continues -->"
"""Stands before a block that goes on in the namespace of the block before it."""
_ELSEWHERE = {"build", "dist", "node_modules"}
_FILES = re.MULTILINE | re.DOTALL
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One Python block, with those that it continues before it."""

    document: Path
    line: int
    parts: tuple[tuple[int, str], ...]
    """Line numbers and sources."""

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> Sequence[Path]:
    found: list[Path] = []
    for directory, below, files in os.walk(ROOT):
        below[:] = [name for name in below if name not in _ELSEWHERE and not name.startswith(".")]
        found += [Path(directory, name) for name in files if name.endswith(".md")]
    return sorted(found)


def programs(document: Path) -> Iterator[Program]:
    """The programs of a document: one for each chain of blocks."""
    parts: list[tuple[int, str]] = []
    for line, source, continues in _blocks(document):
        if parts and not continues:
            yield Program(document=document, line=parts[0][0], parts=tuple(parts))
            parts = []
        parts.append((line, source))
    if parts:
        yield Program(document=document, line=parts[0][0], parts=tuple(parts))


def shown_files(document: Path) -> Iterator[tuple[str, str]]:
    """The files of the repository that a document shows, with the sources that it shows."""
    text = document.read_text("utf-8")
    yield from re.findall(r"^<!-- file: (\S+) -->\n\n```\w+\n(.*?)^```$", text, _FILES)


def excerpts(document: Path) -> Iterator[tuple[str, str]]:
    """The files that a document shows lines of, with the lines."""
    text = document.read_text("utf-8")
    yield from re.findall(r"^<!-- from: (\S+) -->\n\n```\w+\n(.*?)^```$", text, _FILES)


def captions(document: Path) -> Sequence[tuple[str, str]]:
    """The files that a document shows lines of, with the paragraph that follows the lines."""
    text = document.read_text("utf-8")
    block = r"^<!-- from: (\S+) -->\n\n```\w+\n.*?^```\n(\n.*?)(?:\n\n|\Z)"
    return re.findall(block, text, _FILES)


def outputs(document: Path) -> Iterator[tuple[str, str]]:
    """The programs whose output a document shows, with the output."""
    text = document.read_text("utf-8")
    yield from re.findall(r"^<!-- output: (\S+) -->\n\n```text\n(.*?)^```$", text, _FILES)


def stands_in(excerpt: str, source: str) -> bool:
    """Whether the runs of lines of an excerpt stand in the source, in their order."""
    lines, place = source.splitlines(), 0
    for run in re.split(r"^ *# …\n", excerpt, flags=re.MULTILINE):
        wanted = run.strip("\n").splitlines()
        starts = range(place, len(lines) - len(wanted) + 1)
        found = next((at for at in starts if _same(lines[at : at + len(wanted)], wanted)), None)
        if found is None:
            return False
        place = found + len(wanted)
    return True


def _same(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the lines are the same, but for an indentation that all of them share."""
    return dedent("\n".join(lines)) == dedent("\n".join(wanted))


def headings(document: Path) -> frozenset[str]:
    """The anchors that a document's headings have."""
    found: set[str] = set()
    for line in _prose(document):
        match = re.match(r"#+\s+(.*)", line)
        if match:
            text = re.sub(r"[^\w\- ]", "", match.group(1).strip().lower())
            found.add(text.replace(" ", "-"))
    return frozenset(found)


def links(document: Path) -> Sequence[str]:
    """The targets of a document's links, code left out."""
    return [
        target
        for line in _prose(document)
        for target in _LINK.findall(re.sub(r"`[^`]*`", "``", line))
    ]


def _blocks(document: Path) -> Iterator[tuple[int, str, bool]]:
    """First line, source, and whether it continues the block before it."""
    source: list[str] | None = None
    first, previous, continues = 0, "", False
    for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
        if source is not None:
            if line.strip() == "```":
                yield first, "\n".join(source) + "\n", continues
                source = None
            else:
                source.append(line)
        elif line.strip() == "```python":
            source, first, continues = [], number + 1, previous == CONTINUES
        if line.strip():
            previous = line.strip()


def _prose(document: Path) -> Iterator[str]:
    fenced = False
    for line in document.read_text("utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield line
