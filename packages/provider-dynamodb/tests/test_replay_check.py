"""The command `perdure` exports and checks the histories of a table."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import perdure
import pytest
from perdure_console import main

ORDERS = """
import perdure

app = perdure.Registry()

@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, cents: int) -> None:
    await ctx.schedule_timer(cents)
    await ctx.schedule_wait("done")
"""


async def start(url: str) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def pay(ctx: perdure.OrchestrationContext, cents: int) -> None:
        await ctx.schedule_timer(cents)

    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("pay-1", pay, 3600)
        async with perdure.Runtime(provider, app), asyncio.timeout(30):
            while (await client.get_execution_info("pay-1", 1)).event_count < 2:  # noqa: ASYNC110 # there is no event for it
                await asyncio.sleep(0.01)


@pytest.mark.slow
def test_the_histories_of_a_table_are_exported_and_checked(
    dynamodb_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    joined = "&" if "?" in dynamodb_url else "?"
    url = f"{dynamodb_url}{joined}namespace=replay-check"
    asyncio.run(start(url))
    (tmp_path / "shop_of_the_check.py").write_text(ORDERS, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert main(["check", "shop_of_the_check:app", "--url", url, "--strict"]) == 0
    assert main(["export", "--url", url, "histories", "--hash-payloads"]) == 0
    assert main(["check", "shop_of_the_check:app", "--histories", "histories"]) == 0

    out = capsys.readouterr().out
    assert "1 execution: 1 agree, 0 disagree, 0 not replayed" in out
    exported = (tmp_path / "histories" / "pay-1.json").read_text("utf-8")
    assert '"input": "sha256:' in exported
