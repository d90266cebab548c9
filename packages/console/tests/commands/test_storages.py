"""Every command on each storage, by the installed script, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import perdure
import pytest

from .processes import Shell, shell

pytestmark = pytest.mark.slow

PROGRAM = """
from pathlib import Path
import perdure

app = perdure.Registry()

@app.activity
async def charge(order: str) -> str:
    if not Path("open").exists():
        raise perdure.NonRetryable("the bank is closed")
    return f"charged {order}"

@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, order: str) -> str:
    return await ctx.schedule_activity(charge, order)

@app.orchestration
async def wait(ctx: perdure.OrchestrationContext) -> str:
    return await ctx.schedule_wait("go", str)

@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(wait, instance="parcel")
"""
OWN = "namespace=console"
ONLY_SOME_CHECKS = 3
"""The suite's exit code where all that were chosen passed."""
NOT_FOR_AN_ANSWER = {"rich", "perdure.testing", "perdure.telemetry", "starlette", "hypothesis"}
"""Modules that a command with `--json` does not load; to load them takes longer than the command."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PROGRAM, "utf-8")
    (tmp_path / "cup.json").write_text('"cup"', "utf-8")
    return tmp_path


@pytest.fixture(params=["sqlite", "dynamodb", "postgresql"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a storage that does not exist yet, or has nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/shop.db"
    fixture = {"dynamodb": "dynamodb_url", "postgresql": "postgres_url"}[request.param]
    given: str = request.getfixturevalue(fixture)
    return f"{given}{'&' if '?' in given else '?'}{OWN}"


@pytest.fixture
def perdure_in(folder: Path, url: str) -> Iterator[Shell]:
    with shell(folder, url) as opened:
        yield opened


async def begin_more(url: str) -> None:
    """Start three more instances; return when `order-1` has failed and the others wait."""
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        for instance in ("order-2", "order-3"):
            await client.start_orchestration(instance, "wait")
        await client.start_orchestration("delivery", "deliver")
        for instance in ("order-2", "order-3", "parcel"):
            async for _ in client.watch_instance(instance):
                if (await client.describe_instance(instance)).waits:
                    break
        assert isinstance(await client.wait_for_orchestration("order-1", 60), perdure.Failed)


async def failure_of(url: str, instance: str) -> str:
    """How an instance fails."""
    async with perdure.open_provider(url) as provider:
        status = await perdure.Client(provider).wait_for_orchestration(instance, 60)
    assert isinstance(status, perdure.Failed)
    return status.details.display_message()


def test_every_command_works_on_each_storage(perdure_in: Shell, folder: Path, url: str) -> None:
    worker = perdure_in.begin("worker shop:app")
    assert worker.stderr is not None
    assert "orchestrations: deliver 1.0.0, pay 1.0.0, wait 1.0.0;" in worker.stderr.readline()

    loaded = perdure_in.load("queues --json")
    assert not loaded & NOT_FOR_AN_ANSWER
    (started,) = perdure_in.answers("start order-1 pay @cup.json --label tenant=acme")
    assert started == {"instance": "order-1", "orchestration": "pay"}
    asyncio.run(begin_more(url))

    followed = perdure_in.begin("history order-2 --follow --json")
    look(perdure_in, url)
    assert followed.stdout is not None
    first = json.loads(followed.stdout.readline())
    assert (first["execution"], first["kind"]) == (1, "OrchestrationStarted")
    steer(perdure_in, folder, url)
    assert [json.loads(line)["kind"] for line in followed.stdout][-1] == "OrchestrationCompleted"
    assert followed.wait(60) == 0
    remove(perdure_in)

    worker.send_signal(signal.SIGTERM)
    assert worker.stderr.read().endswith("the worker has stopped\n")
    assert worker.wait(60) == 0


def look(perdure_in: Shell, url: str) -> None:
    page = perdure_in.begin("web --port 0")
    certified = perdure_in.begin(f"conformance '{url.removesuffix(f'&{OWN}')}' --only CALL-1")
    listed, shown, history, tree, depths, counts, place, checked, exported = perdure_in.answers(
        "list --label tenant=acme --status failed",
        "show order-1",
        "history order-1 --execution 1",
        "tree delivery",
        "queues",
        "metrics",
        "where order-2 --app shop:app",
        "check shop:app",
        "export histories",
    )

    assert [each["instance"] for each in listed["instances"]] == ["order-1"]
    assert "the bank is closed" in shown["doing"]
    kinds = [each["kind"] for each in history["events"]]
    assert (kinds[0], kinds[-1]) == ("OrchestrationStarted", "OrchestrationFailed")
    assert [child["info"]["instance"] for child in tree["children"]] == ["parcel"]
    oldest = {"oldest_message", "oldest_activity", "counted_at"}
    assert set(depths) == {"orchestrator_queue", "worker_queue", "timer_queue", *oldest}
    assert (counts["total_instances"], counts["failed_instances"]) == (5, 1)
    assert [line["text"] for line in place["tasks"][0]["lines"]] == [
        'return await ctx.schedule_wait("go", str)'
    ]
    assert (checked["agrees"], len(checked["executions"])) == (True, 5)
    assert exported == {"written": 5, "directory": "histories"}

    assert page.stderr is not None
    address = page.stderr.readline().rpartition(" at ")[2].strip()
    with urllib.request.urlopen(address, timeout=60) as opened:  # noqa: S310 # what the command says
        assert b"order-1" in opened.read()
    page.send_signal(signal.SIGINT)
    page.wait(60)
    assert "CALL-1" in perdure_in.ended(certified, ONLY_SOME_CHECKS)


def steer(perdure_in: Shell, folder: Path, url: str) -> None:
    (folder / "open").touch()
    retried, forked, canceled = perdure_in.answers(
        "retry order-1", "fork order-2 order-4 --label copy=yes", "cancel order-3"
    )
    assert retried == {"retried": ["order-1"], "refused": []}
    assert forked == {"source": "order-2", "instance": "order-4"}
    assert canceled == {"instance": "order-3", "asked": True}

    raised, waited = perdure_in.answers("raise order-2 go '\"now\"'", "wait order-1 --timeout 60")
    assert raised["arrival"] == "running"
    assert waited == {"instance": "order-1", "status": "Completed", "output": "charged cup"}
    assert asyncio.run(failure_of(url, "order-3")) == "canceled: requested by an operator"


def remove(perdure_in: Shell) -> None:
    result, rewound, pruned, matching, deleted = perdure_in.answers(
        "result order-2",
        "rewind order-3 --to 1",
        "prune order-1 --keep-last 1 --yes",
        "purge --older-than 0s --status completed --dry-run",
        "delete order-4 --force --yes",
    )
    assert result == {"instance": "order-2", "status": "Completed", "output": "now"}
    assert rewound == {"instance": "order-3", "execution": 2}
    assert pruned == {"instance": "order-1", "pruned": 1}
    assert sorted(matching["would_delete"]) == ["order-1", "order-2"]
    assert deleted == {"deleted": ["order-4"], "refused": []}

    terminated, purged = perdure_in.answers(
        "terminate order-3 --yes", "purge --older-than 0s --status completed --yes"
    )
    assert terminated == {"instance": "order-3", "terminated": True}
    assert purged == {"deleted": 2}


def test_a_store_in_memory_is_worked_on_read_and_certified(folder: Path) -> None:
    with shell(folder, "memory://") as perdure_in:
        worker = perdure_in.begin("worker shop:app")
        certified = perdure_in.begin("conformance memory://x --only CALL-1")
        perdure_in.load("list --json")
        installed, listed = perdure_in.answers("providers", "list")
        assert worker.stderr is not None
        assert "serves memory://" in worker.stderr.readline()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        output = perdure_in.ended(certified, ONLY_SOME_CHECKS)

    assert listed == {"instances": [], "next_token": None}
    schemes = {each["scheme"]: each["problem"] for each in installed["providers"]}
    assert {"memory": None, "sqlite": None}.items() <= schemes.items()
    assert "CALL-1" in output
