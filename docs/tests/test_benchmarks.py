"""The benchmarks run: each row has a workload, and a run gives figures, a page and pictures."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .markdown import ROOT


def test_every_row_has_a_workload_and_every_workload_a_row(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    rows = importlib.import_module("benchmarks.rows").BY_ID.keys()
    workloads = importlib.import_module("benchmarks.workloads")
    floor = importlib.import_module("benchmarks.floor")

    assert set(workloads.WORKLOADS) == set(rows)
    assert set(rows) >= workloads.ON_A_FILE | floor.ROWS


@pytest.mark.slow
def test_a_run_writes_its_figures_a_page_and_a_picture(tmp_path: Path) -> None:
    words = ["--short", "--rounds=1", "--row=fan_outs", f"--into={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    results = json.loads((tmp_path / "results.json").read_text("utf-8"))["results"]
    assert [each["subject"] for each in results] == ["perdure-sqlite", "perdure-memory", "floor"]
    assert [each["error"] for each in results] == ["", "", ""]
    assert all(each["figures"][0] > 0 and each["cpu_us_per_operation"] > 0 for each in results)
    assert done.stdout.strip() == (tmp_path / "results.md").read_text("utf-8").strip()
    picture = "![5 fan-outs of 100 activities at once, activities/s](fan_outs-5.svg)"
    assert picture in done.stdout
    assert (tmp_path / "fan_outs-5.svg").read_text("utf-8").startswith("<svg")
