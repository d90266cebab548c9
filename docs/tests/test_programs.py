"""Every Python block of every document runs, and so does every program that pages show lines of.

A block is a whole program: it runs in a namespace and in a directory of its own, within a time
limit. A block after the comment `<!-- test: continues -->` goes on where the one before it ended.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from .markdown import ROOT, Program, documents, outputs, programs

LIMIT_SECONDS = 60
EXAMPLES = ROOT / "examples" / "how-to"
FILES = sorted(EXAMPLES.glob("*.py"))
NEEDED = {"web_django.py": ["django"], "web_fastapi.py": ["fastapi", "httpx2"]}
OUTPUTS = [each for document in documents() for each in outputs(document)]
PROGRAMS = [program for document in documents() for program in programs(document)]


@contextmanager
def own_logging() -> Iterator[None]:
    """Take away what a program leaves at the loggers, so that no other test meets it."""
    kept = {
        name: (logger.level, logger.propagate, list(logger.handlers)) for name, logger in _loggers()
    }
    try:
        yield
    finally:
        for name, logger in _loggers():
            level, propagate, handlers = kept.get(name, (logging.NOTSET, True, []))
            logger.setLevel(level)
            logger.propagate = propagate
            logger.handlers[:] = handlers


def _loggers() -> list[tuple[str, logging.Logger]]:
    known = dict(logging.Logger.manager.loggerDict)
    found = [(name, each) for name, each in known.items() if isinstance(each, logging.Logger)]
    return [("root", logging.getLogger()), *found]


@contextmanager
def time_limit(seconds: int, name: str) -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{name} did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(program: Program) -> None:
    module = ModuleType("program_of_a_document")
    sys.modules[module.__name__] = module  # where pydantic looks for the names of annotations
    try:
        for line, source in program.parts:
            # Blank lines before it, so that a traceback shows the line of the document.
            code = compile("\n" * (line - 1) + source, str(program.document), "exec")
            exec(code, module.__dict__)  # noqa: S102 # the document's own program
    finally:
        del sys.modules[module.__name__]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=[program.name for program in PROGRAMS])
def test_the_program_runs(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with own_logging(), time_limit(LIMIT_SECONDS, program.name):
        run(program)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_the_example_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in NEEDED.get(file.name, ()):
        pytest.importorskip(name, reason=f"{name}, of the group `test`, is not installed")
    monkeypatch.chdir(tmp_path)

    with own_logging(), time_limit(LIMIT_SECONDS, file.name):
        runpy.run_path(str(file), run_name="__main__")

    shown = [output for name, output in OUTPUTS if ROOT / name == file]
    printed = capfd.readouterr().out
    assert [output for output in shown if output != printed] == []


def test_a_program_leaves_nothing_at_the_loggers() -> None:
    logger = logging.getLogger("perdure")
    before = (list(logger.handlers), logger.level)
    source = "import logging\nlogging.getLogger('perdure').addHandler(logging.NullHandler())\n"

    with own_logging():
        run(Program(document=Path(os.devnull), line=1, parts=((1, source),)))

    assert (list(logger.handlers), logger.level) == before


def test_the_documents_have_programs() -> None:
    names = {program.document.name for program in PROGRAMS}

    assert {"README.md", "sqlite.md", "hooks.md"} <= names


def test_a_program_that_is_wrong_fails() -> None:
    wrong = Program(
        document=Path(os.devnull), line=1, parts=((1, "x = 1\n"), (3, "assert x == 2\n"))
    )

    with pytest.raises(AssertionError):
        run(wrong)


def test_a_program_that_does_not_end_fails() -> None:
    with pytest.raises(TimeoutError, match="did not end"), time_limit(1, "an endless program"):
        time.sleep(5)
