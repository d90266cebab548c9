"""The pytest plugin: one test for each history file, in a run of pytest of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import perdure
import pytest
from perdure import OrchestrationContext, Registry

from .conftest import recorded

pytestmark = pytest.mark.slow

TESTS = """
import perdure
import pytest
from perdure.testing import check_history

app = perdure.Registry()

@app.orchestration(name="process")
async def process(ctx: perdure.OrchestrationContext, number: int) -> None:
    if number > 1:
        await ctx.schedule_timer(1)
    await ctx.schedule_wait("done")

@pytest.mark.perdure_histories("histories")
def test_agrees(perdure_history: perdure.HistoryDocument) -> None:
    check_history(perdure_history, app).raise_if_disagrees()

@pytest.mark.perdure_histories("histories/few", "histories/more")
async def test_agrees_in_a_running_loop(perdure_history: perdure.HistoryDocument) -> None:
    check_history(perdure_history, app).raise_if_disagrees()
"""


SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with tests and the histories of two instances, the second of which disagrees."""

    async def process(ctx: OrchestrationContext, number: int) -> None:
        await ctx.schedule_wait("done")

    app = Registry()
    app.orchestration(name="process")(process)
    for number, folder in enumerate(("few", "more"), 1):
        document = asyncio.run(recorded(app, "process", f"{number}"))
        path = tmp_path / "histories" / folder / f"order-{number}.json"
        path.parent.mkdir(parents=True)
        path.write_text(document.to_json(), "utf-8")
    (tmp_path / "pytest.ini").write_text(SETTINGS, "utf-8")
    (tmp_path / "test_histories.py").write_text(TESTS, "utf-8")
    return tmp_path


def run(project: Path, *words: str) -> str:
    line = [sys.executable, "-W", "error", "-m", "pytest", "--strict-markers", "-q", "-rA", *words]
    done = subprocess.run(line, cwd=project, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_each_history_file_is_a_test_that_says_what_disagrees(project: Path) -> None:
    out = run(project)

    assert "PASSED test_histories.py::test_agrees[few/order-1]" in out
    assert "FAILED test_histories.py::test_agrees[more/order-2]" in out
    assert "PASSED test_histories.py::test_agrees_in_a_running_loop[order-1]" in out
    assert "FAILED test_histories.py::test_agrees_in_a_running_loop[order-2]" in out
    assert "history: WaitCreated(name='done')" in out
    assert "2 failed, 2 passed" in out


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            '@pytest.mark.perdure_histories("nowhere")\ndef test_it(perdure_history): ...\n',
            "nowhere' has no history",
        ),
        (
            '@pytest.mark.perdure_histories("histories")\ndef test_it(): ...\n',
            "gets each history as its argument perdure_history",
        ),
        (
            "def test_it(perdure_history): ...\n",
            "mark the test with @pytest.mark.perdure_histories",
        ),
    ],
)
def test_a_test_without_a_history_fails_and_says_what_to_do(
    project: Path, test: str, message: str
) -> None:
    (project / "test_histories.py").write_text(f"import pytest\n\n{test}", "utf-8")

    out = run(project)

    assert message in out
    assert "passed" not in out


STAGES = """
import perdure
import pytest

app = perdure.Registry()

@app.orchestration
async def greet(ctx: perdure.OrchestrationContext) -> str:
    return "hello"

async def test_closes_each_stage(perdure_stage):
    async with perdure_stage(app) as first, perdure_stage(app, skip=False) as second:
        assert await first.run(greet) == await second.run(greet)

def test_makes_no_stage(perdure_stage):
    pass

def test_forgets_to_enter(perdure_stage):
    perdure_stage(app)

async def test_forgets_to_leave(perdure_stage):
    async with perdure_stage(app):
        pass
    await perdure_stage(app).__aenter__()
"""


def test_a_stage_that_a_test_does_not_close_fails_it(project: Path) -> None:
    (project / "test_histories.py").write_text(STAGES, "utf-8")

    out = run(project)

    assert "PASSED test_histories.py::test_closes_each_stage" in out
    assert "ERROR test_histories.py::test_forgets_to_enter" in out
    assert "ERROR test_histories.py::test_forgets_to_leave" in out
    assert "the test made 2 stages and did not close 1 of them; enter each one with" in out
    assert "PASSED test_histories.py::test_makes_no_stage" in out
    assert out.count("ERROR test_histories.py") == 2


def test_loading_the_plugin_does_not_import_perdure() -> None:
    code = "import sys, pytest_perdure; print('perdure' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_a_document_that_is_read_and_written_is_the_same(project: Path) -> None:
    path = project / "histories" / "few" / "order-1.json"

    assert perdure.HistoryDocument.from_json(path.read_bytes()).to_json() == path.read_text("utf-8")
