"""A type checker sees the arguments and results of calls, and refuses the wrong ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TYPED = Path(__file__).parent.parent / "typing" / "client_calls.py"


@pytest.mark.slow
def test_the_checker_refuses_exactly_the_lines_of_misuse():
    pytest.importorskip("basedpyright")
    checked = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", str(TYPED)],
        capture_output=True,
        text=True,
        check=False,
        cwd=TYPED.parent,
    )
    problems = json.loads(checked.stdout)["generalDiagnostics"]
    found = {problem["range"]["start"]["line"] + 1 for problem in problems}
    lines = TYPED.read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}

    assert len(wanted) > 10
    assert found == wanted
