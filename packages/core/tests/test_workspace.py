"""The scripts of the workspace know all packages, and the constraints pin all that they install."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script() -> ModuleType:
    return load("dev.py")


@pytest.fixture(scope="module")
def menu() -> ModuleType:
    with contextlib.chdir(ROOT):
        return load("noxfile.py")


def normal(requirement: str) -> str:
    """The name that a requirement asks for, in the form in which names are compared."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins), pins
    return {normal(line): line for line in pins}


def test_the_scripts_know_all_packages(script: ModuleType, menu: ModuleType) -> None:
    members = {path.parent for path in (ROOT / "packages").glob("*/pyproject.toml")}
    members.add(ROOT / "conformance")

    assert {ROOT / name for name in script.PACKAGES} == members
    assert menu.PACKAGES == script.PACKAGES


def test_every_python_of_a_classifier_has_a_session_and_a_run_in_ci(menu: ModuleType) -> None:
    named = {
        found
        for name in menu.PACKAGES
        for found in re.findall(
            r"Python :: (3\.\d+)", (ROOT / name / "pyproject.toml").read_text("utf-8")
        )
    }
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")

    assert named == set(menu.PYTHONS)
    assert all(f'"{version}"' in workflow for version in named)


def sessions() -> list[str]:
    menu = (ROOT / "noxfile.py").read_text("utf-8")
    return re.findall(r"^@nox\.session.*\ndef (\w+)", menu, re.MULTILINE)


def test_every_session_is_explained_to_contributors() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")

    assert {"wheels", "tests", "lint"} <= set(sessions())
    assert [name for name in sessions() if f"`{name}`" not in page] == []


def test_every_session_that_a_workflow_or_a_text_names_exists(menu: ModuleType) -> None:
    known = {*sessions(), *(f"tests-{python}" for python in menu.PYTHONS)}
    texts = [*ROOT.glob(".github/workflows/*"), ROOT / ".ci" / "run", *ROOT.glob("*.md")]
    texts += [*ROOT.glob("docs/**/*.md"), *ROOT.glob("changelog.d/*.md")]
    named = {
        (path.name, name)
        for path in texts
        for name in re.findall(
            r"(?:nox|menu) (?:-s|--session) \"?([\w.-]+)", path.read_text("utf-8")
        )
    }

    nightly = (ROOT / ".github" / "workflows" / "nightly.yml").read_text("utf-8")
    [matrix] = re.findall(r"session: \[(.+)\]", nightly)
    named |= {("nightly.yml", name) for name in re.findall(r"[\w-]+", matrix)}

    assert len(named) >= 5
    assert {(where, name) for where, name in named if name not in known} <= {
        ("ci.yml", "tests-"),  # with the Python of the matrix
        ("CONTRIBUTING.md", "NAME"),
    }


def test_every_requirement_is_pinned(script: ModuleType) -> None:
    wanted = [
        requirement
        for name in script.PACKAGES
        for project in [tomllib.loads((ROOT / name / "pyproject.toml").read_text("utf-8"))]
        for requirement in [
            *project["project"]["dependencies"],
            *(
                entry
                for extra in project["project"].get("optional-dependencies", {}).values()
                for entry in extra
            ),
        ]
    ]
    wanted += [entry for group in ("build", "dev") for entry in script._requirements(group)]

    names = {normal(requirement) for requirement in wanted}
    ours = {name for name in names if name == "perdure" or name.startswith("perdure-")}

    assert names - ours - set(pinned()) == set()


def test_the_oldest_versions_are_those_that_the_packages_declare(menu: ModuleType) -> None:
    oldest = menu.oldest_requirements()

    assert {"pluggy==1.5", "pytest==8"} <= set(oldest)
    assert {normal(pin) for pin in oldest} == {
        normal(requirement)
        for name in menu.PACKAGES
        for project in [tomllib.loads((ROOT / name / "pyproject.toml").read_text("utf-8"))]
        for requirement in project["project"]["dependencies"]
        if not requirement.startswith("perdure")
    }


def test_every_dependency_and_every_ignored_rule_says_why() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]
    files.append(ROOT / "conformance" / "pyproject.toml")
    entry = re.compile(r'\s*"([\w.-]+(?:\[\w+\])?[<>=~!]+[^"]*|[A-Z]+\d+)",?\s*(#.*)?$')
    found = [
        (path.parent.name, match)
        for path in files
        for match in map(entry.fullmatch, path.read_text("utf-8").splitlines())
        if match
    ]

    assert len(found) >= 30
    assert [(where, match[1]) for where, match in found if not match[2]] == []


def test_a_command_that_is_not_known_is_answered_with_those_that_are() -> None:
    asked = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert asked.returncode == 2
    for command in ("demo", "test", "nox", "run"):
        assert f"python3 dev.py {command}" in asked.stderr


def test_an_old_python_is_refused_with_the_way_out(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))

    assert script.main(["test"]) == 1
    assert "Perdure needs 3.11 or newer" in capsys.readouterr().err


def test_the_fragments_of_the_changelog_are_sentences_of_a_known_kind() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    kinds = {kind["directory"] for kind in project["tool"]["towncrier"]["type"]}
    fragments = list((ROOT / "changelog.d").glob("*.md"))

    assert [path.name for path in fragments if path.name.split(".")[1:-1][:1] == []] == []
    assert {path.name.split(".")[1] for path in fragments} <= kinds
    assert [path.name for path in fragments if not path.read_text("utf-8").endswith(".\n")] == []
