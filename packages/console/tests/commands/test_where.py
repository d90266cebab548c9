"""The command `where`: the lines of a program at which an instance stands, at its end and earlier."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import perdure
import pytest

PROGRAM = """
import asyncio
import perdure

app = perdure.Registry()

@app.activity
async def charge(order: str) -> str:
    return order

@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, order: str) -> None:
    receipt = await ctx.schedule_activity(charge, order)
    await asyncio.gather(
        *(ctx.schedule_wait(name) for name in ("packed", "approved", receipt))
    )
"""


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage with an instance that waits, beside its program."""
    (tmp_path / "payments.py").write_text(PROGRAM, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "payments", raising=False)
    app = __import__("payments").app
    url = "sqlite:///shop.db"
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            await client.start_orchestration("order-1", "pay", '"cup"')
            async for _ in client.watch_instance("order-1"):
                if len(await client.read_execution_history("order-1", 1)) == 6:
                    break
    return url


def test_the_lines_are_shown_at_the_end_and_at_an_event(url, perdure_says) -> None:
    said = perdure_says("where", url, "order-1", "--app", "payments:app")
    assert (said.code, said.err) == (0, "")
    first, waits, line = said.out.splitlines()
    assert first == "order-1, execution 1, at event 6 (pay 1.0.0)"
    assert waits == (
        "orchestration waits for event 'packed' (event 4), event 'approved' (event 5),"
        " event 'cup' (event 6)"
    )
    assert line.strip().endswith("payments.py:14 in pay: await asyncio.gather(")

    earlier = perdure_says("where", url, "order-1", "--app", "payments:app", "--event", "2").out
    assert "orchestration waits for activity 'charge' (event 2)" in earlier
    assert "payments.py:13 in pay: receipt = await" in earlier


def test_code_that_disagrees_exits_with_1_and_says_why(url, perdure_says, tmp_path: Path) -> None:
    edited = PROGRAM.replace("await ctx.schedule_activity(charge, order)", "order")
    (tmp_path / "edited.py").write_text(edited, "utf-8")

    said = perdure_says("where", url, "order-1", "--app", "edited:app", "--json")

    assert said.code == 1
    assert "ActivityScheduled" in json.loads(said.out)["disagreement"]
    assert "ActivityScheduled" in said.err
