"""Type checkers see the arguments and results of calls, and refuse the wrong ones: pyright and mypy.

What must be inferred stands in the files as `assert_type`, what must be refused ends in
`# refused`. Each checker must report exactly those lines. A checker is run once, on all files.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"
FILES = sorted(file.name for file in FOLDER.glob("*.py"))
LINES_OF_A_FILE = 10
"""A file has more lines of misuse than this on average; with fewer, one was not read."""

Lines = set[tuple[str, int]]
"""Files and the numbers of their lines."""


def pyright(scratch: Path) -> Iterator[tuple[str, int]]:
    """The lines that pyright reports in its strict mode."""
    pytest.importorskip("basedpyright")
    # What is checked is what this interpreter has installed, not what the settings name.
    checked = _run("basedpyright", "--outputjson", "--pythonpath", sys.executable, *FILES)
    for problem in json.loads(checked)["generalDiagnostics"]:
        if problem["severity"] == "error":
            yield Path(problem["file"]).name, problem["range"]["start"]["line"] + 1


def mypy(scratch: Path) -> Iterator[tuple[str, int]]:
    """The lines that mypy reports in its strict mode."""
    pytest.importorskip("mypy")
    checked = _run("mypy", "--strict", "--no-error-summary", f"--cache-dir={scratch}", *FILES)
    for found in re.finditer(r"^(.+?):(\d+): error: ", checked, flags=re.MULTILINE):
        yield Path(found[1]).name, int(found[2])


def _run(checker: str, *words: str) -> str:
    line = [sys.executable, "-m", checker, *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=FOLDER).stdout


@pytest.mark.slow
@pytest.mark.parametrize("checker", [pyright, mypy])
def test_the_checker_refuses_exactly_the_lines_of_misuse(checker, tmp_path: Path) -> None:
    wanted: Lines = {
        (file, number)
        for file in FILES
        for number, line in enumerate((FOLDER / file).read_text("utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }

    found: Lines = set(checker(tmp_path))

    assert {file for file, number in wanted} == set(FILES)
    assert len(wanted) > LINES_OF_A_FILE * len(FILES)
    assert sorted(found - wanted) == []
    assert sorted(wanted - found) == []
