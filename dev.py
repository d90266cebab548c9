"""Prepares a virtual environment beside this file, and runs the work of a fresh clone in it.

    python3 dev.py demo [ARGUMENTS]     the demonstration, examples/order
    python3 dev.py test [ARGUMENTS]     the tests, with pytest
    python3 dev.py lint                 format, lint and type checks
    python3 dev.py wheels [ARGUMENTS]   the tests, on wheels that were built here
    python3 dev.py lowest               the suite, on wheels, with the oldest versions they allow
    python3 dev.py run COMMAND …        anything else, such as `run nox --list`

It needs Python 3.11 or newer and nothing else. What is installed is what `pyproject.toml` and
`constraints.txt` say, by pip, with whatever configuration pip has here. A second run finds the
environment as the first left it, and installs again only where one of those files has changed.
It does not activate anything and changes nothing outside `.venv`; what runs on wheels has an
environment of its own, which is removed afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENVIRONMENT / "prepared.json"
PACKAGES = (
    "packages/core",
    "packages/provider-memory",
    "packages/provider-sqlite",
    "packages/provider-dynamodb",
    "conformance",
)
GROUPS = {
    "demo": (),
    "test": ("test", "site"),
    "lint": ("dev",),
    "wheels": (),
    "lowest": (),
    "run": ("dev",),
}
"""The dependency groups of the root's pyproject.toml that each command needs."""


def main(arguments: list[str]) -> int:
    """Carry out one command; returns its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 # anybody may start this file with any Python
        return _refuse(
            f"this is Python {sys.version.split()[0]}, and Perdure needs 3.11 or newer;"
            " run this file with a newer one, such as `python3.12 dev.py test`"
        )
    if not arguments or arguments[0] not in GROUPS:
        sys.stderr.write(__doc__ or "")
        return 2
    command, rest = arguments[0], arguments[1:]
    try:
        _prepare(GROUPS[command])
        if command == "wheels":
            return _test_wheels(rest)
        if command == "lowest":
            return _certify_lowest()
    except _Unprepared as problem:
        return _refuse(str(problem))
    for line in _commands(command, rest):
        code = subprocess.call(line, cwd=None if command == "demo" else ROOT, env=_environment())  # noqa: S603 # commands of this file and of who calls it
        if code:
            return code
    return 0


def _commands(command: str, rest: list[str]) -> list[list[str]]:
    python = str(PYTHON)
    if command == "demo":
        return [[python, str(ROOT / "examples" / "order"), *rest]]
    if command == "test":
        return [[python, "-m", "pytest", "--numprocesses=auto", *rest]]
    if command == "lint":
        return [
            [python, "-m", "ruff", "format", "--check", "."],
            [python, "-m", "ruff", "check", "."],
            [python, "-m", "basedpyright"],
        ]
    return [rest] if rest else []


def _test_wheels(rest: list[str]) -> int:
    """Run the tests on the packages as their wheels install them, not as they lie here."""
    tools = ["--constraint", "constraints.txt", *_requirements("dev")]
    with _installed(*tools, extra="[local]") as installed:
        # Stealing, so that no worker is left alone with the long ones.
        workers = ("--numprocesses=auto", "--dist=worksteal")
        return installed.call("pytest", *workers, *rest, cwd=ROOT)


def _certify_lowest() -> int:
    """Run the suite by command, and the tests of a new provider package, as a user does.

    With the oldest version of each requirement, on the oldest Python; a newer Python may be more
    than those can run on, and is given the versions of the constraints.
    """
    oldest = sys.version_info[:2] == (3, 11)
    bounds = lowest() if oldest else ["--constraint", "constraints.txt"]
    with _installed(*bounds) as installed:
        name = "perdure-acme"
        lines = [
            ("perdure_conformance", "memory://installed"),
            ("perdure_conformance", "sqlite:///installed.db"),
            ("perdure_conformance", "new", "acme", name),
        ]
        for module, *words in lines:
            if code := installed.call("python", "-m", module, *words):
                return code
        wheels = installed.folder / "dist"
        _build(wheels, str(installed.folder / name))
        installed.install("--no-deps", *map(str, wheels.iterdir()))
        return installed.call("pytest", "-W", "error", cwd=installed.folder / name)


def lowest() -> list[str]:
    """The oldest version of each requirement of the packages that their metadata allows."""
    import tomllib

    found: list[str] = []
    for package in PACKAGES:
        project = tomllib.loads((ROOT / package / "pyproject.toml").read_text("utf-8"))["project"]
        for requirement in cast("list[str]", project["dependencies"]):
            bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", requirement)
            if bound is None:
                raise _Unprepared(f"{requirement!r} of {package} has no lower bound; give it one")
            if not bound[1].startswith("perdure"):
                found.append(f"{bound[1]}=={bound[2]}")
    return found


class _Installed:
    """An environment that has the packages from wheels alone, and nothing of this clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = folder / "environment"
        self._programs = self._home / PYTHON.parent.relative_to(ENVIRONMENT)
        subprocess.check_call([str(PYTHON), "-m", "venv", str(self._home)])  # noqa: S603 # our own interpreter

    def install(self, *requirements: str) -> None:
        """Install what is named."""
        _pip("install", *requirements, python=str(self._programs / PYTHON.name))

    def call(self, program: str, *words: str, cwd: Path | None = None) -> int:
        """Run a program of the environment, where nothing of this clone is unless asked for."""
        # A program and not `python -m`, which would put the current folder on the path.
        line = [str(self._programs / program), *words]
        environment = _environment(self._home, self._programs)
        return subprocess.call(line, cwd=cwd or self.folder, env=environment)  # noqa: S603 # a program that was installed above

    def check(self) -> None:
        """Refuse an environment that would test what lies here instead of what is published."""
        if self.call("python", "-c", _FROM_WHEELS, str(self._home)):
            raise _Unprepared("the packages above do not come from their wheels")


_FROM_WHEELS = """
import importlib, pathlib, sys
home = pathlib.Path(sys.argv[1]).resolve()
names = ("", "_memory", "_sqlite", "_dynamodb", "_conformance")
files = [importlib.import_module("perdure" + name).__file__ for name in names]
wrong = [file for file in files if not pathlib.Path(file).resolve().is_relative_to(home)]
sys.exit("\\n".join(wrong) or None)
"""


@contextmanager
def _installed(*requirements: str, extra: str = "") -> Generator[_Installed]:
    """Build all wheels, and install them with what is named into a fresh environment."""
    with tempfile.TemporaryDirectory(prefix="perdure-wheels-") as made:
        wheels = Path(made, "wheels")
        _build(wheels, *(f"./{package}" for package in PACKAGES))
        installed = _Installed(Path(made))
        built = [
            f"{wheel}{extra if 'dynamodb' in wheel.name else ''}" for wheel in wheels.iterdir()
        ]
        installed.install(*built, *requirements)
        installed.check()
        yield installed


def _build(folder: Path, *packages: str) -> None:
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), *packages)


def _environment(home: Path = ENVIRONMENT, programs: Path = PYTHON.parent) -> dict[str, str]:
    """As an activated environment has it, so that `run nox` finds what is installed."""
    path = os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath)))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(home)}


class _Unprepared(Exception):
    """The environment could not be made; the text says what to do."""


def _prepare(groups: tuple[str, ...]) -> None:
    digest = _digest()
    stamp = _read_stamp()
    wanted = set(groups)
    if stamp is not None and stamp["digest"] == digest and PYTHON.exists():
        wanted.update(stamp["groups"])
        if wanted == set(stamp["groups"]):
            return
    sys.stderr.write("Preparing .venv; this takes a minute the first time.\n")
    sys.stderr.flush()
    _make_environment(clear=stamp is not None and stamp["python"] != _python())
    requirements = [line for group in ("build", *sorted(wanted)) for line in _requirements(group)]
    # The build backend first, so that the packages are built with the very version that the
    # constraints name; then all packages in one call: one alone would look for the others.
    _pip("install", "--constraint", "constraints.txt", *requirements)
    # The tests also want what runs DynamoDB on this machine.
    names = [f"{p}[local]" if wanted and p.endswith("dynamodb") else p for p in PACKAGES]
    editable = [part for name in names for part in ("--editable", name)]
    _pip("install", "--constraint", "constraints.txt", "--no-build-isolation", *editable)
    kept = {"digest": digest, "groups": sorted(wanted), "python": _python()}
    STAMP.write_text(json.dumps(kept), encoding="utf-8")


def _digest() -> str:
    """Of everything that decides what is installed."""
    total = hashlib.sha256()
    files = ("pyproject.toml", "constraints.txt", *(f"{p}/pyproject.toml" for p in PACKAGES))
    for name in files:
        total.update((ROOT / name).read_bytes())
    total.update(f"{ROOT} {_python()}".encode())
    return total.hexdigest()


def _python() -> str:
    return f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"


def _read_stamp() -> dict[str, Any] | None:
    try:
        stamp = cast("dict[str, Any]", json.loads(STAMP.read_text(encoding="utf-8")))
        return stamp if {"digest", "groups", "python"} <= set(stamp) else None
    except (OSError, ValueError, TypeError):
        return None


def _make_environment(clear: bool) -> None:
    if not clear and PYTHON.exists() and _works("-m", "pip", "--version"):
        return
    import venv

    # Absent where a distribution of Python ships it apart.
    if importlib.util.find_spec("ensurepip") is None:
        raise _Unprepared(
            f"{sys.executable} has no ensurepip, so it cannot make a virtual environment;"
            " install your system's package for it (Debian, Ubuntu: python3-venv), or run this"
            " file with another Python"
        )
    try:
        venv.EnvBuilder(with_pip=True, clear=clear, symlinks=os.name != "nt").create(ENVIRONMENT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _Unprepared(
            f"the virtual environment {ENVIRONMENT} could not be made: {error};"
            " remove that directory and try again"
        ) from error


def _requirements(group: str) -> list[str]:
    """The requirements of a dependency group, with the groups that it includes."""
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    found: list[str] = []
    for entry in groups[group]:
        found += [entry] if isinstance(entry, str) else _requirements(entry["include-group"])
    return found


def _pip(*arguments: str, python: str = str(PYTHON)) -> None:
    line = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.call(line, cwd=ROOT):  # noqa: S603 # pip of the environment that was made above
        raise _Unprepared(
            "pip could not install what is needed, for the reason above; check that pip reaches"
            " its index, and try again"
        )


def _works(*arguments: str) -> bool:
    return not subprocess.call(  # noqa: S603 # the environment's own interpreter
        [str(PYTHON), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _refuse(reason: str) -> int:
    sys.stderr.write(f"dev.py: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
