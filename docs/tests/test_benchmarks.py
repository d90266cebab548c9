"""The benchmarks run: each row has a workload, and a run gives figures, a page and pictures."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import perdure
import pytest

from .markdown import ROOT


@pytest.fixture
def part(monkeypatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_every_row_has_a_workload_and_every_workload_a_row(part) -> None:
    rows, workloads = part("rows").BY_ID.keys(), part("workloads")

    assert set(workloads.WORKLOADS) == set(rows)
    assert set(rows) >= workloads.ON_A_FILE | part("floor").ROWS | part("peers.playing").ROWS


def test_every_subject_plays_each_row_or_says_why_it_does_not(part) -> None:
    playing, own = part("peers.playing").ROWS, part("workloads").WORKLOADS
    can = {"floor": part("floor").ROWS}

    for subject in part("subjects").subjects():
        plays = can.get(subject.id, own if subject.id.startswith("perdure-") else playing)
        for row in part("rows").ROWS:
            for size in (*row.short, *row.whole, *row.once, *row.large):
                assert row.id in plays or subject.reason(row.id, size), (subject.id, row.id)


def test_reasons_are_given_for_rows_that_exist(part) -> None:
    for subject in part("subjects").subjects():
        assert set(subject.cannot) | set(subject.largest) <= set(part("rows").BY_ID), subject.id


def test_every_peer_has_a_list_of_pinned_versions_and_a_subject(part) -> None:
    environments = part("peers.environments")
    commands = " ".join(" ".join(subject.command) for subject in part("subjects").subjects())

    for peer in environments.PEERS:
        pins = (ROOT / "benchmarks" / "peers" / f"{peer}.txt").read_text("utf-8").split()
        assert environments.versions(peer), peer
        assert all("==" in pin for pin in pins), peer
        assert f"benchmarks.peers.{peer}_" in commands


def test_the_page_on_providers_shows_the_figures_of_the_last_run(part) -> None:
    excerpt = part("excerpt")
    results = json.loads((ROOT / "docs" / "benchmarks" / "results.json").read_text("utf-8"))

    assert excerpt.shown(excerpt.PAGE.read_text("utf-8")) == excerpt.table(results)


def test_every_row_of_the_last_run_has_a_figure_of_each_subject_or_a_reason(part) -> None:
    results = json.loads((ROOT / "docs" / "benchmarks" / "results.json").read_text("utf-8"))
    played = {(each["row"], each["size"]) for each in results["results"]}
    cells = {
        (each["row"], each["size"], each["subject"])
        for each in results["results"]
        if each["figures"] or each["error"] or each["not_played"]
    }

    subjects = [subject.id for subject in part("subjects").subjects()]
    assert {row for row, _ in played} == set(part("rows").BY_ID)
    assert cells == {(*each, subject) for each in played for subject in subjects}


@pytest.mark.slow
async def test_copies_of_ended_instances_are_read_and_deleted_as_those_that_were_played(
    part, tmp_path, monkeypatch
) -> None:
    ended = part("workloads.ended")
    monkeypatch.setattr(ended, "_PLAYED", 2)
    monkeypatch.setattr(ended, "_PER_TRANSACTION", 2)
    url = f"sqlite:////{tmp_path}/x.db"

    await ended.fill(url, 7)

    assert ended.bytes_in_use(url) > 0
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        names = await client.delete_instances(limit=10, dry_run=True)
        for name in names:
            assert (await client.get_handle(name).result(timeout=5)) == 5
            assert len(await client.read_execution_history(name, 1)) == 12
            assert await client.delete_instance(name) == 1
    assert len(names) == 7


@pytest.mark.slow
def test_a_run_writes_its_figures_a_page_and_a_picture(tmp_path: Path) -> None:
    subjects = ("perdure-memory", "floor")
    words = ["--short", "--rounds=1", "--row=fan_outs", "--row=in_flight", f"--into={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, *(f"--subject={each}" for each in subjects)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    results = json.loads((tmp_path / "results.json").read_text("utf-8"))["results"]
    assert [each["subject"] for each in results] == [*subjects, *subjects]
    assert [each["error"] for each in results] == [""] * 4
    assert all(each["figures"] or each["not_played"] for each in results)
    assert all(each["cpu_us_per_operation"] > 0 for each in results[:2])
    assert done.stdout.strip() == (tmp_path / "results.md").read_text("utf-8").strip()
    assert "![5 fan-outs of 100 activities at once, activities/s](fan_outs-5.svg)" in done.stdout
    assert "- bare statements: not played, a loop without an engine" in done.stdout
    assert (tmp_path / "fan_outs-5.svg").read_text("utf-8").startswith("<svg")
