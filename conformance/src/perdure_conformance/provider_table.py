"""Updates the table of providers in a document: its last column comes from reports.

The table stands between two comments, `BEGIN` and `END`. A row belongs to the provider whose URL
it shows in backticks. Its last cell comes from that provider's `conformance.json` alone, which must be
of this suite. Rows without a URL, and all other columns, are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from perdure.errors import InvalidInput

from perdure_conformance.catalogue import ALL_CHECKS
from perdure_conformance.report import FORMAT
from perdure_conformance.verdict import named

BEGIN = "<!-- conformance: begin -->"
END = "<!-- conformance: end -->"
NO_REPORT = "in work"
"""The last cell of a provider without a report."""

_MARKED = re.compile(rf"(?<={BEGIN}\n).*?(?={END})", re.DOTALL)
_SCHEME = re.compile(r"`([a-z][a-z0-9]*)://")


def rewrite(document: Path, reports: Sequence[Path]) -> bool:
    """Write the verdicts of the reports into the document's table; returns whether it changed."""
    text = document.read_text(encoding="utf-8")
    cells: dict[str, str] = {}
    for path in reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        link = relpath(path.with_suffix(".md"), document.parent).replace("\\", "/")
        check_suite(report, link)
        cells[report["provider"]["scheme"]] = cell_of(report, link)
    written = with_cells(text, cells)
    if written == text:
        return False
    document.write_text(written, encoding="utf-8")
    return True


def check_suite(report: Mapping[str, Any], link: str) -> None:
    """Refuse a report of a suite with other checks than this one, which proves something else."""
    reported = {each["id"]: each["promise"] for each in report["checks"]}
    here = {check.id: check.promise for check in ALL_CHECKS}
    other = [each for each in {**here, **reported} if here.get(each) != reported.get(each)]
    if other:
        raise InvalidInput(
            f"the report behind {link} was written by a suite with other checks ({named(other)});"
            " run the suite again, and report that"
        )


def cell_of(report: Mapping[str, Any], link: str) -> str:
    """The cell of a report: the verdict, the suite, and the day."""
    if report["format"] != FORMAT:
        raise InvalidInput(
            f"the report behind {link} has format {report['format']!r}, not {FORMAT}; write it"
            " again with this version of perdure-conformance"
        )
    contract = ".".join(str(part) for part in report["provider"]["contract"])
    verdict = f"{'conformant' if report['conformant'] is True else 'not conformant'} to contract"
    suite, day = report["suite"]["version"], report["date"][:10]
    tested_on = report["provider"].get("tested_on")
    storage = f", on {tested_on}" if tested_on else ""
    return f"[{verdict} {contract}]({link}), suite {suite}, {day}{storage}"


def with_cells(text: str, cells: Mapping[str, str]) -> str:
    """The document's text with these cells, by scheme, at the ends of the table's rows."""
    if _MARKED.search(text) is None:
        raise InvalidInput(f"the document has no table between {BEGIN!r} and {END!r}; mark it")

    def rows(marked: re.Match[str]) -> str:
        return "".join(_row(line, cells) for line in marked[0].splitlines(keepends=True))

    return _MARKED.sub(rows, text)


def _row(line: str, cells: Mapping[str, str]) -> str:
    scheme = _SCHEME.search(line)
    if scheme is None:
        return line
    kept = line.rstrip().removesuffix("|").rpartition("|")[0]
    return f"{kept}| {cells.get(scheme[1], NO_REPORT)} |\n"
