"""A stage in a test works under each of the runners that users have, without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APPLICATION = """
import asyncio
import unittest
from datetime import timedelta

import perdure
import pytest
from perdure.testing import Stage, explore, run_activity, survive

app = perdure.Registry()


@app.activity
def remind(customer: str) -> str:
    return f"called {customer}"


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext, customer: str) -> str:
    try:
        async with asyncio.timeout(timedelta(days=7).total_seconds()):
            return await ctx.schedule_wait("approval", str)
    except TimeoutError:
        return await ctx.schedule_activity(remind, customer)


@app.orchestration
async def call(ctx: perdure.OrchestrationContext, customer: str) -> str:
    return await ctx.schedule_activity(remind, customer)


@app.orchestration
async def order(ctx: perdure.OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(approve, "Ada")


async def use_all() -> None:
    async with Stage(app) as stage:
        reminder = stage.fake(remind, returns="called")
        assert await stage.run(approve, "Ada") == "called"
        assert reminder.inputs == ["Ada"]
        await stage.crash()
    async with Stage(app) as stage, stage.worker(app) as worker:
        approved = stage.fake(approve, returns="approved")
        await worker.crash()
        await stage.restart(app)
        assert await stage.run(order) == "approved"
        await stage.until(lambda: approved.inputs == ["Ada"])
    assert await run_activity(remind, "Ada") == "called Ada"
    assert (await survive(app, call, "Ada")).runs >= 8
    assert (await explore(app, approve, "Ada")).complete
"""

PLAIN = """
async def test_it():
    await use_all()
"""

UNITTEST = """
class Tests(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        await use_all()
"""

AUTO = "-o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function"
STRICT = "-o asyncio_mode=strict -o asyncio_default_fixture_loop_scope=function"

RUNNERS = {
    "pytest-asyncio auto": (PLAIN, AUTO),
    "pytest-asyncio strict": (
        "pytestmark = pytest.mark.asyncio\n" + PLAIN,
        STRICT,
    ),
    "pytest-asyncio, one loop for the module": (
        'pytestmark = pytest.mark.asyncio(loop_scope="module")\n'
        + PLAIN
        + PLAIN.replace("test_it", "test_it_again"),
        STRICT,
    ),
    "anyio": (
        'pytestmark = pytest.mark.anyio\n\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
        + PLAIN,
        "-p no:asyncio",
    ),
    "unittest": (
        UNITTEST,
        "-p no:asyncio",
    ),
    "xdist": (
        PLAIN + PLAIN.replace("test_it", "test_it_again"),
        f"{AUTO} -n 2",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_stage_works_under(runner: str, tmp_path: Path) -> None:
    test, options = RUNNERS[runner]
    (tmp_path / "test_it.py").write_text(APPLICATION + test)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", *options.split(), "."],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "warning" not in done.stdout


@pytest.mark.slow
def test_a_stage_works_under_unittest_itself(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(APPLICATION + UNITTEST)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "unittest", "-q", "test_it"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK" in done.stderr
