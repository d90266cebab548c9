"""Every command on each storage, in this process: SQLite and DynamoDB Local."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from perdure_console import main

from .conftest import work

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "dynamodb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a storage that does not exist yet, or has nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shop.db"
        return
    url = request.getfixturevalue("dynamodb_url")
    joined = "&" if "?" in url else "?"
    yield f"{url}{joined}namespace=console"


def test_every_command_works_on_each_storage(storage, monkeypatch, tmp_path, capsys) -> None:
    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(words)
        return code, capsys.readouterr().out

    def as_json(*words: str) -> Any:
        code, out = run(*words, "--json")
        assert code == 0
        return json.loads(out)

    monkeypatch.setenv("PERDURE_URL", storage)
    (tmp_path / "cup.json").write_text('"cup"', "utf-8")

    assert as_json("start", "order-1", "pay", f"@{tmp_path}/cup.json", "--label", "tenant=acme")
    assert as_json("start", "order-2", "wait") == {"instance": "order-2", "orchestration": "wait"}
    asyncio.run(work(storage, "order-1"))
    assert run("start", "order-2", "wait")[0] == 1
    assert run("result", "order-1")[0] == 1

    listed = as_json("list", "--label", "tenant=acme", "--status", "failed")
    assert [each["instance"] for each in listed["instances"]] == ["order-1"]
    assert as_json("metrics")["total_instances"] == 2
    assert set(as_json("queues")) == {"orchestrator_queue", "worker_queue", "timer_queue"}
    assert "the bank is closed" in as_json("show", "order-1")["doing"]
    kinds = [each["kind"] for each in as_json("history", "order-1")["events"]]
    assert (kinds[0], kinds[-1]) == ("OrchestrationStarted", "OrchestrationFailed")

    assert as_json("retry", "order-1")["retried"] == ["order-1"]
    assert as_json("raise", "order-2", "go", '"now"')["arrival"] == "running"
    assert as_json("fork", "order-2", "order-3", "--label", "copy=yes")["instance"] == "order-3"
    asyncio.run(work(storage, "order-1", "order-2", is_open=True))
    assert as_json("wait", "order-1", "--timeout", "20")["output"] == "charged cup"
    assert run("result", "order-2") == (0, '"now"\n')
    assert as_json("prune", "order-1", "--keep-last", "1", "--yes")["pruned"] == 1

    assert as_json("terminate", "order-3", "--yes") == {"instance": "order-3", "terminated": True}
    assert as_json("purge", "--older-than", "0s", "--status", "failed", "--yes") == {"deleted": 1}
    assert as_json("delete", "order-1", "--yes")["deleted"] == ["order-1"]
    assert as_json("list", "--roots")["instances"][0]["instance"] == "order-2"
