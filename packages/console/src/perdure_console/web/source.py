"""The code of an orchestration with the lines where it stands, at an event of its history."""

from __future__ import annotations

import asyncio
import io
import keyword
import linecache
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perdure import Registry
from perdure.history import Event
from perdure.testing import Location, locate

_AROUND: Final = 7
"""How many lines are shown before and behind those where a task stands."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line, with what it is: `keyword`, `string`, `comment`, `number` or nothing."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of a file."""

    number: int
    pieces: tuple[Piece, ...]
    tasks: tuple[str, ...]
    """The names of the tasks that stand here."""
    is_innermost: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines of one file."""

    file: str
    """Its path below the folder that it was imported from."""
    parts: tuple[tuple[CodeLine, ...], ...]
    """What lies between two parts is left out."""


async def locate_in_thread(
    events: Sequence[Event], app: Sequence[Registry], event: int | None
) -> Location:
    """Replay beside the event loop of the page; raises `InvalidInput`."""
    return await asyncio.to_thread(locate, events, app, event=event)


def listings(location: Location) -> list[Listing]:
    """The files in which tasks stand, with the lines around."""
    standing: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    innermost: set[tuple[str, int]] = set()
    for task in location.tasks:
        for line in task.lines:
            standing[line.file][line.line].append(task.name)
        innermost.add((task.lines[-1].file, task.lines[-1].line))
    return [
        Listing(_shown(file), tuple(_parts(file, marked, innermost)))
        for file, marked in standing.items()
    ]


def _shown(file: str) -> str:
    """The path below the folder that it was imported from: a page tells nothing of the machine."""
    path = Path(file)
    for folder in sorted((Path(each or ".").resolve() for each in sys.path), key=_depth):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return path.name


def _depth(folder: Path) -> int:
    return -len(folder.parts)


def _parts(
    file: str, marked: dict[int, list[str]], innermost: set[tuple[str, int]]
) -> Iterator[tuple[CodeLine, ...]]:
    lines = linecache.getlines(file)
    pieces = _coloured(lines)
    wanted = sorted(
        {
            number
            for line in marked
            for number in range(line - _AROUND, line + _AROUND + 1)
            if 1 <= number <= len(lines)
        }
    )
    part: list[CodeLine] = []
    for number in wanted:
        if part and number != part[-1].number + 1:
            yield tuple(part)
            part = []
        tasks = tuple(dict.fromkeys(marked.get(number, ())))
        part.append(CodeLine(number, pieces[number], tasks, (file, number) in innermost))
    if part:
        yield tuple(part)


def _coloured(lines: Sequence[str]) -> dict[int, tuple[Piece, ...]]:
    """The pieces of each line; plain ones where the file is no Python."""
    spans: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    try:
        for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
            kind = _kind(token)
            if not kind:
                continue
            (first, begin), (last, end) = token.start, token.end
            for row in range(first, last + 1):
                spans[row].append(
                    (
                        begin if row == first else 0,
                        end if row == last else len(lines[row - 1].rstrip("\n")),
                        kind,
                    )
                )
    except (tokenize.TokenError, SyntaxError, IndexError):
        pass
    return {
        number: tuple(_cut(text.rstrip("\n"), spans.get(number, [])))
        for number, text in enumerate(lines, 1)
    }


def _cut(text: str, spans: Sequence[tuple[int, int, str]]) -> Iterator[Piece]:
    at = 0
    for begin, end, kind in spans:
        if begin > at:
            yield Piece(text[at:begin])
        yield Piece(text[begin:end], kind)
        at = end
    if at < len(text):
        yield Piece(text[at:])


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME:
        return "keyword" if keyword.iskeyword(token.string) else ""
    name = tokenize.tok_name[token.type]
    if name.startswith(("STRING", "FSTRING")):
        return "string"
    return {"COMMENT": "comment", "NUMBER": "number"}.get(name, "")
