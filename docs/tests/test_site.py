"""The documentation site: it builds without a warning, and its reference is complete."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .markdown import ROOT

REFERENCE = ROOT / "docs" / "look-up" / "api"
PACKAGES = ("perdure", "perdure.contract", "perdure.testing")


def described(package: str) -> Counter[str]:
    """How often each name of a package stands in the reference."""
    text = "".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))
    names = re.findall(rf"^\.\. auto\w+:: {re.escape(package)}\.(\w+)$", text, flags=re.MULTILINE)
    return Counter(names)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_exported_name_once(package: str) -> None:
    exported = set(importlib.import_module(package).__all__)
    if package != "perdure":
        exported -= set(importlib.import_module("perdure").__all__)

    found = described(package)

    assert exported - found.keys() == set()
    assert found.keys() - exported == set()
    assert [name for name, times in found.items() if times > 1] == []


def indexed(file: Path) -> set[str]:
    """The pages whose text the site's search finds."""
    index = json.loads(file.read_text("utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    numbers = {number for found in index["terms"].values() for number in flat(found)}
    return {index["docnames"][number] for number in numbers}


def flat(found: int | list[int]) -> list[int]:
    return found if isinstance(found, list) else [found]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    # Without the pages of source, and without furo: nothing of ours decides what those do, and they
    # take two thirds of the time. `nox -s site` builds with both.
    extensions = "extensions=myst_parser,sphinx.ext.autodoc,sphinx_copybutton"
    words = ["-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"), "-c", "docs"]
    words += ["-D", extensions, "-D", "html_theme=basic"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    reference = (tmp_path / "site" / "docs" / "look-up" / "api" / "client.html").read_text("utf-8")
    assert "Start an orchestration under an id" in reference
    assert indexed(tmp_path / "site" / "searchindex.js") >= {"docs/index", "docs/look-up/errors"}
    assert not [
        page for page in indexed(tmp_path / "site" / "searchindex.js") if "conformance" in page
    ]
