"""A type checker sees the arguments and results of calls, and refuses the wrong ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typing"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_the_checker_refuses_exactly_the_lines_of_misuse(file: Path):
    pytest.importorskip("basedpyright")
    # What is checked is what this interpreter has installed, not what the settings name.
    here = ["--pythonpath", sys.executable]
    checked = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", *here, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER,
    )
    problems = json.loads(checked.stdout)["generalDiagnostics"]
    found = {problem["range"]["start"]["line"] + 1 for problem in problems}
    lines = file.read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}

    assert len(wanted) > 10
    assert found == wanted
