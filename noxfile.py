"""The contributor's menu: `nox --list` shows it, `nox -s NAME` runs one of it.

Every session makes an environment of its own with plain pip, or with uv where nox finds it. What
it runs is installed from wheels, as it is for users: an editable install hides what only a wheel
lacks.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"

PACKAGES = (
    "packages/core",
    "packages/provider-memory",
    "packages/provider-sqlite",
    "packages/provider-dynamodb",
    "conformance",
)
SHARDS = "PERDURE_TEST_DYNAMODB_SHARDS"
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


def _install(session: nox.Session, *groups: str) -> None:
    """All packages, from wheels, with what the groups name."""
    _install_tools(session, *groups)
    packages = [f"./{name}" for name in PACKAGES]
    names = [f"{p}[local]" if p.endswith("dynamodb") else p for p in packages]
    session.install("--constraint", "constraints.txt", "--no-build-isolation", *names)
    # The environment is used again, and the version of a wheel is always the same.
    session.install("--no-deps", "--no-build-isolation", "--force-reinstall", *packages)


def _install_tools(session: nox.Session, *groups: str) -> None:
    wanted = [entry for group in ("build", *groups) for entry in GROUPS[group]]
    session.install("--constraint", "constraints.txt", *wanted)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the format, the rules and the types."""
    _install_tools(session, "test", "lint", "menu")
    editable = [part for name in PACKAGES for part in ("--editable", name)]
    session.install("--constraint", "constraints.txt", "--no-build-isolation", *editable)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("basedpyright", "--pythonpath", _python(session))


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, or those that are named after `--`, on wheels."""
    _install(session, "test", "lint", "site")
    session.run("pytest", "--numprocesses=auto", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every program of the documents, and check links and completeness."""
    _install(session, "test", "site")
    session.run("pytest", "docs", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation site into `build/site`; a warning is a failure."""
    _install(session, "site")
    session.run("sphinx-build", "-W", "--keep-going", "-c", "docs", ".", "build/site")


@nox.session
def conformance(session: nox.Session) -> None:
    """Run the conformance suite on the providers here, or on the URLs after `--`."""
    _install(session, "test")
    urls = session.posargs or [
        "memory://conformance",
        f"sqlite:///{session.create_tmp()}/conformance.db",
    ]
    for url in urls:
        session.run("python", "-m", "perdure_conformance", url)


@nox.session
def providers(session: nox.Session) -> None:
    """Certify memory and SQLite, or the schemes after `--`, and write what README.md says of them."""
    _install(session, "test")
    home = Path("docs", "conformance")
    home.mkdir(exist_ok=True)
    scratch = Path(session.create_tmp()).resolve()
    for scheme in session.posargs or ["memory", "sqlite"]:
        report = scratch / scheme
        shutil.rmtree(report, ignore_errors=True)
        report.mkdir()
        # What is not conformant is written too: the table must say so.
        if scheme == "dynamodb":
            tests = "packages/provider-dynamodb/tests/test_conformance_local.py"
            words = ["pytest", tests, f"--conformance-report={report}"]
            session.run(*words, success_codes=[0, 1])
        else:
            url = {"memory": "memory://conformance", "sqlite": "sqlite:///conformance.db"}[scheme]
            with session.chdir(report):
                words = ["python", "-m", "perdure_conformance", url, "--report", "."]
                session.run(*words, success_codes=[0, 1])
        for kind in ("json", "md"):
            shutil.copy(report / f"conformance.{kind}", home / f"{scheme}.{kind}")
    found = sorted(str(path) for path in home.glob("*.json"))
    session.run("python", "-m", "perdure_conformance", "table", "README.md", *found)


@nox.session
def scaffold(session: nox.Session) -> None:
    """Write a new provider package, build it, and certify it from its wheel."""
    _install(session, "test")
    directory = Path(session.create_tmp()).resolve() / "perdure-acme"
    shutil.rmtree(directory, ignore_errors=True)
    session.run("python", "-m", "perdure_conformance", "new", "acme", str(directory))
    with session.chdir(directory):
        session.run("python", "-m", "hatchling", "build", "--target", "wheel")
        # The environment is used again, and the version of the wheel is always the same.
        wheels = map(str, Path("dist").glob("*.whl"))
        session.install("--no-deps", "--force-reinstall", *wheels)
        session.run("python", "-m", "perdure_conformance", "acme://certified")
        session.run("pytest")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Compare 20,000 random programs live against replay."""
    _install(session, "test")
    programs = session.posargs or ["20000"]
    session.run(
        "pytest",
        "packages/core/tests/replay/test_random_programs.py",
        env={"PERDURE_PROGRAMS": programs[0]},
    )


@nox.session
def dynamodb(session: nox.Session) -> None:
    """Run the conformance suite on DynamoDB Local, with one shard and with four."""
    _install(session, "test")
    session.run(
        "pytest",
        "--numprocesses=auto",
        "packages/provider-dynamodb/tests/test_conformance_local.py",
        *session.posargs,
        env={SHARDS: os.environ.get(SHARDS, "1,4")},
    )


@nox.session
def protocol(session: nox.Session) -> None:
    """Fuzz DynamoDB's protocol with crashes and stalls at every request, 3,000 times."""
    _install(session, "test")
    runs = session.posargs or ["3000"]
    session.run(
        "pytest",
        "--numprocesses=auto",
        "packages/provider-dynamodb/tests/test_fuzz.py",
        env={"PERDURE_FUZZ_RUNS": runs[0]},
    )


@nox.session
def kill(session: nox.Session) -> None:
    """Kill processes at 100 random moments, and look whether anything was lost."""
    _install(session, "test")
    kills = session.posargs or ["100"]
    session.run(
        "pytest", "packages/provider-sqlite/tests/test_kill.py", env={"PERDURE_KILLS": kills[0]}
    )


@nox.session(venv_backend="none")
def lowest(session: nox.Session) -> None:
    """Certify memory, SQLite and a new provider package with the oldest versions allowed."""
    session.run(sys.executable, "dev.py", "lowest")


@nox.session
def benchmark(session: nox.Session) -> None:
    """Measure the main workloads on SQLite, or on the URL after `--`."""
    _install(session, "test")
    url = session.posargs or [f"sqlite:///{session.create_tmp()}/benchmark.db"]
    session.run("python", "benchmarks/workloads.py", *url)


@nox.session
def changelog(session: nox.Session) -> None:
    """Show what the fragments in changelog.d say, or write it: `-- 0.2.0`."""
    _install_tools(session, "release")
    version = session.posargs[:1]
    words = ["--version", *version, "--yes"] if version else ["--version", "next", "--draft"]
    session.run("towncrier", "build", "--name", "Perdure", *words)


@nox.session
def release(session: nox.Session) -> None:
    """Build and check what is published, into `build/dist`; `-- v0.2.0` checks the tag too."""
    projects = [nox.project.load_toml(f"{name}/pyproject.toml")["project"] for name in PACKAGES]
    tags = {f"v{project['version']}" for project in projects}
    if len(tags) != 1 or (session.posargs and set(session.posargs) != tags):
        session.error(f"the versions {sorted(tags)} and the tag {session.posargs} don't agree")
    _install_tools(session, "release")
    folder = Path("build", "dist").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), package)
    built = sorted(map(str, folder.iterdir()))
    if len(built) != 2 * len(PACKAGES):
        session.error(f"a source distribution and a wheel of each package were due, not {built}")
    session.run("twine", "check", "--strict", *built)
    session.install("--force-reinstall", *(file for file in built if file.endswith(".whl")))
    with session.chdir(session.create_tmp()):
        session.run("python", "-m", "perdure_conformance", "memory://release")


def _python(session: nox.Session) -> str:
    return str(Path(session.bin) / "python")
