"""The commands that only read, for people and as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

import perdure
import perdure.codecs
import pytest
from perdure_console import main


def test_instances_are_listed_newest_first(url, perdure_says):
    said = perdure_says("list", url)

    assert (said.code, said.err) == (0, "")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [row[:3] for row in rows] == [
        ["parcel", "wait", "running"],
        ["delivery", "deliver", "running"],
        ["order-2", "wait", "running"],
        ["order-1", "pay", "failed"],
    ]


def test_a_listing_is_filtered_and_followed(url, perdure_says):
    def ids(*words: str) -> list[str]:
        plain = perdure_says("list", url, "--json", *words).plain
        return [each["instance"] for each in plain["instances"]]

    assert ids("--status", "failed") == ["order-1"]
    assert ids("--orchestration", "wait", "--roots") == ["order-2"]
    assert ids("--parent", "delivery") == ["parcel"]
    assert ids("--prefix", "order") == ["order-2", "order-1"]
    assert ids("--updated-before", "1h") == []
    assert ids("--created-after", "1h", "--parked") == []
    first = perdure_says("list", url, "--limit", "3")
    assert len(first.out.splitlines()) == 3
    token = first.err.split("--token ")[1].strip()
    assert ids("--token", token) == ["order-1"]


@pytest.mark.parametrize(
    "word",
    [
        "--created-after=soon",
        "--created-after=-1d",
        "--created-after=999999999d",
        "--label=tenant",
        "--limit=0",
        "--status=runing",
    ],
)
def test_an_option_that_does_not_fit_is_refused(url, perdure_says, word):
    said = perdure_says("list", url, word)

    assert (said.code, said.out) == (2, "")
    assert word.strip("-").partition("=")[0] in said.err


def test_an_instance_is_shown(url, perdure_says):
    said = perdure_says("show", url, "order-2")
    assert said.code == 0
    lines = dict(line.split("\t", 1) for line in said.out.splitlines())
    assert lines["status"] == "running"
    assert "waits for event 'go' since" in lines["doing"]

    said = perdure_says("show", url, "nowhere")
    assert (said.code, said.out) == (1, "")
    assert "instance 'nowhere' does not exist" in said.err


def test_a_tree_is_shown(url, perdure_says):
    said = perdure_says("tree", url, "delivery")
    assert said.out == "delivery  deliver  running\n  parcel  wait  running\n"


def test_queues_are_counted_with_the_age_of_the_oldest(tmp_path, perdure_says):
    url = f"sqlite:///{tmp_path}/shop.db"
    started = datetime.now(UTC) - timedelta(days=1, hours=6, minutes=30)
    asyncio.run(start(url, perdure.ManualClock(started)))

    said, plain = perdure_says("queues", url), perdure_says("queues", url, "--json").plain

    lines = ["messages\t1, the oldest for 1d 6h", "activities\t0", "timers\t0"]
    assert said.out.splitlines() == lines
    assert datetime.fromisoformat(plain["oldest_message"]) == started
    assert plain["oldest_activity"] is None


async def start(url: str, clock: perdure.Clock) -> None:
    async with perdure.open_provider(url, clock=clock) as provider:
        await perdure.Client(provider).start_orchestration("order-1", "pay")


def test_every_execution_is_followed_until_the_instance_has_ended(tmp_path, perdure_says):
    url = f"sqlite:///{tmp_path}/counting.db"
    asyncio.run(count_to(url, 3))

    said = perdure_says("history", url, "count", "--follow", "--execution", "1", "--json")

    events = [json.loads(line) for line in said.out.splitlines()]
    assert [each["execution"] for each in events if each["event_id"] == 1] == [1, 2, 3]
    assert events[-1]["kind"] == "OrchestrationCompleted"
    assert "time" in events[0]
    newest = perdure_says("history", url, "count").out.splitlines()
    assert "OrchestrationCompleted(output='3')" in newest[-1]
    assert perdure_says("history", url, "nowhere", "--follow").code == 1


async def count_to(url: str, last: int) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def count(ctx: perdure.OrchestrationContext, number: int) -> int:
        if number < last:
            ctx.continue_as_new(number + 1)
        return number

    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("count", count, 1)
        await handle.wait(20)


def test_the_installed_providers_are_listed(capsys):
    assert main(["providers"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["memory", "perdure-memory"] in [row[:2] for row in rows]


def test_shells_complete_ids_where_the_storage_answers(url, monkeypatch, capsys):
    def completed(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(("perdure", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            main([])
        return capsys.readouterr().out.split()

    monkeypatch.setenv("_PERDURE_COMPLETE", "complete_bash")
    monkeypatch.setattr("perdure_console.completion._PATIENCE", 30)
    monkeypatch.setenv("PERDURE_URL", url)
    assert completed("show", "ord") == ["order-2", "order-1"]
    assert completed("--url", "sqlite:///typo.db", "show", "ord") == []
    assert completed("retry", "--rea") == ["--reason"]


def test_the_url_of_the_command_counts_above_the_environment(url, monkeypatch, capsys):
    monkeypatch.setenv("PERDURE_URL", "sqlite:///typo.db")

    for words in (["--url", url, "list"], ["list", "--url", url]):
        assert main(words) == 0
    assert main(["list"]) == 3
    assert "typo.db" in capsys.readouterr().err


def test_a_storage_with_a_codec_is_read_with_it(tmp_path, monkeypatch, perdure_says):
    (tmp_path / "shop_codecs.py").write_text(
        "from perdure.codecs import Zlib\ncodec = [Zlib(above=0)]\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    url, codec = "sqlite:///coded.db", ("--codec", "shop_codecs:codec")

    long = json.dumps("cup" * 1000)
    assert perdure_says("start", url, "a", "count", long, *codec).code == 0
    asyncio.run(count_with(url))

    assert perdure_says("result", url, "a", *codec).out == f"{long}\n"
    without = perdure_says("result", url, "a")
    assert (without.code, without.out) == (3, "")
    assert "zlib" in without.err
    assert perdure_says("list", url, "--codec", "shop_codecs:nothing").code == 2


async def count_with(url: str) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def count(ctx: perdure.OrchestrationContext, what: str) -> str:
        return what

    codec = [perdure.codecs.Zlib(above=0)]
    async with (
        perdure.open_provider(url, codec=codec) as provider,
        perdure.Runtime(provider, app),
    ):
        await perdure.Client(provider).wait_for_orchestration("a", 20)
