"""The few figures of a run that the page on choosing a provider shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import BY_ID

PAGE = Path(__file__).parents[1] / "docs" / "operate" / "choosing-a-provider.md"
_BEGIN, _END = "<!-- figures of the benchmark -->\n\n", "\n<!-- their end -->\n"
_PROVIDERS = {
    "perdure-memory": "memory",
    "perdure-sqlite": "SQLite",
    "perdure-postgres": "PostgreSQL",
}
_LATEST = "95th percentile"
_SHOWN = (
    ("chains", ""),
    ("fan_outs", ""),
    ("latency", "median"),
    ("latency", _LATEST),
    ("long_chain", "median"),
    ("timers", _LATEST),
    ("idle", ""),
)


def table(results: Mapping[str, Any]) -> str:
    """The table, made of what `results.json` holds; of several sizes the smallest counts."""
    lines = [f"| workload | {' | '.join(_PROVIDERS.values())} |", "| --- | --- | --- | --- |"]
    for row, which in _SHOWN:
        of_row = [each for each in results["results"] if each["row"] == row]
        size = min((each["size"] for each in of_row), default=0)
        found = {each["subject"]: each for each in of_row if each["size"] == size}
        title = BY_ID[row].named(size) + (f": {which}" if which else "")
        cells = " | ".join(_cell(found.get(each), which) for each in _PROVIDERS)
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(result: Mapping[str, Any] | None, which: str) -> str:
    if result is None or not result["figures"]:
        return "-"
    figure = result["p50_p95_p99_ms"][1] if which == _LATEST else median(result["figures"])
    shown = f"{figure:,.0f}" if figure >= 100 else f"{figure:.2g}"
    return f"{shown} {result['unit']}"


def shown(page: str) -> str:
    """The table as it stands in the page."""
    return page.partition(_BEGIN)[2].partition(_END)[0]


def renew(folder: Path) -> None:
    """Put the figures of the run in this folder into the page."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}{table(results)}{_END}{after}", encoding="utf-8")
