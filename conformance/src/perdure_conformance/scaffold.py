"""Scaffolds a provider package that is conformant at once and keeps everything in memory.

Its code is a copy of the model, under the new package's names; the rest comes from `templates/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from perdure.errors import InvalidInput

SCHEME = re.compile(r"[a-z][a-z0-9]*\Z")
MODEL = (
    "tables",
    "mailboxes",
    "activities",
    "values",
    "turns",
    "recovery",
    "deletion",
    "store",
    "management",
    "listing",
    "provider",
)
TEMPLATES = (
    ("pyproject.toml", "pyproject.toml"),
    ("README.md", "README.md"),
    ("src/__init__.py", "src/{package}/__init__.py"),
    ("src/options.py", "src/{package}/options.py"),
    ("src/plugin.py", "src/{package}/plugin.py"),
    ("src/conformance_backend.py", "src/{package}/conformance_backend.py"),
    ("tests/test_conformance.py", "tests/test_conformance.py"),
)


def scaffold(scheme: str, directory: Path) -> list[Path]:
    """Write a package for a provider of this scheme into a new directory; returns the files.

    Raises `InvalidInput` for a scheme that is no lower-case word, and for a directory that exists.
    """
    if not SCHEME.match(scheme):
        raise InvalidInput(
            f"scheme {scheme!r} is not a lower-case word of letters and digits; choose another"
        )
    if directory.exists():
        raise InvalidInput(f"directory {str(directory)!r} exists; choose another, or remove it")
    written: list[Path] = []
    for name, text in package_files(scheme):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def package_files(scheme: str) -> Iterator[tuple[str, str]]:
    """Names and contents of the package's files."""
    package = f"perdure_{scheme}"
    home = files("perdure_conformance")
    for template, name in TEMPLATES:
        text = (home / "templates" / f"{template}.txt").read_text(encoding="utf-8")
        yield name.format(package=package), filled(text, scheme)
    for module in MODEL:
        text = (home / "model" / f"{module}.py").read_text(encoding="utf-8")
        text = text.replace("perdure_conformance.model", package)
        text = text.replace("ModelProvider", f"{scheme.capitalize()}Provider")
        yield f"src/{package}/{module}.py", text
    yield f"src/{package}/py.typed", ""


def filled(template: str, scheme: str) -> str:
    """The template's text for this scheme."""
    return template.replace("__scheme__", scheme).replace("__Scheme__", scheme.capitalize())
