"""The shape of the code: imports have no circles, every public thing says what it is, all agree."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import perdure
import perdure.contract
import perdure.contract.hooks
import perdure.errors
import perdure.model.application_errors
import perdure.testing
import pytest

ROOT = Path(__file__).parents[3]
SOURCE = Path(perdure.__file__).parent
PROJECTS = (
    "packages/core",
    "packages/provider-memory",
    "packages/provider-sqlite",
    "packages/provider-dynamodb",
    "packages/provider-postgres",
    "packages/console",
    "conformance",
)
PUBLIC_PACKAGES = (
    "perdure",
    "perdure.contract",
    "perdure.client",
    "perdure.codecs",
    "perdure.telemetry",
    "perdure.testing",
    "perdure_memory",
    "perdure_sqlite",
    "perdure_dynamodb",
    "perdure_postgres",
    "perdure_conformance",
    "perdure_console",
)

ROOT_MODULES = {"clock": "model", "errors": "model", "history": "records", "observe": "records"}
"""The public modules that stand at the root, each with the folder that it goes with."""

MAY_USE = {
    "encoding": {"encoding"},
    "model": {"encoding", "model"},
    "records": {"model", "records"},
    "diagnostics": {"model", "diagnostics"},
    "contract": {"records", "model", "contract"},
    "codecs": {"records", "model", "contract", "codecs"},
    "providers": {"records", "model", "contract", "codecs", "providers"},
    "authoring": {"encoding", "records", "model", "diagnostics", "authoring"},
    # The engine knows no provider.
    "replay": {"encoding", "records", "model", "diagnostics", "authoring", "replay"},
    "client": {
        "encoding", "records", "model", "diagnostics", "authoring", "contract", "codecs", "providers",
        "client",
    },
    "runtime": {
        "encoding", "records", "model", "diagnostics", "authoring", "contract", "providers", "replay",
        "client", "runtime",
    },
    "telemetry": {"records", "contract", "client", "runtime", "telemetry"},
    # Applications use it in their tests alone.
    "testing": {
        "encoding", "records", "model", "diagnostics", "authoring", "contract", "providers", "replay",
        "client", "runtime", "testing",
    },
}  # fmt: skip
"""What the modules of a folder may import; the page about the layout draws it."""


def modules() -> dict[str, Path]:
    """Core's modules by their names below `perdure`."""
    found: dict[str, Path] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of core that a module imports, for its types alone and within functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _below(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for package in _below(node.module):
                for alias in node.names:
                    inner = f"{package}.{alias.name}".lstrip(".")
                    yield inner if inner in known else package


def _below(name: str) -> Iterator[str]:
    if name == "perdure" or name.startswith("perdure."):
        yield name.removeprefix("perdure").lstrip(".")


def layer(module: str) -> str | None:
    """The folder that a module belongs to; None where nothing says so."""
    top = module.partition(".")[0]
    return top if top in MAY_USE else ROOT_MODULES.get(top)


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def test_the_imports_of_core_have_no_circle() -> None:
    order = list(TopologicalSorter(graph()).static_order())

    assert (
        order.index("errors") < order.index("authoring.registry") < order.index("runtime.runtime")
    )


def test_each_module_of_core_imports_only_from_the_layers_below() -> None:
    wrong = [
        f"{module} ({layer(module)}) imports {used or 'perdure'} ({layer(used)})"
        for module, uses in graph().items()
        if module
        for used in uses
        if layer(used) not in MAY_USE.get(layer(module) or "", set())
    ]

    assert wrong == []


ARCHITECTURE = ROOT / "docs" / "build-on-it" / "architecture.md"


def test_the_page_about_the_architecture_names_what_each_folder_imports() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)

    assert {folder: {folder, *re.findall(r"`(\w+)`", used)} for folder, used in rows} == MAY_USE


def test_every_stop_of_the_walks_is_there_and_no_walk_has_more_than_ten() -> None:
    walks = ARCHITECTURE.read_text("utf-8").partition("## Three walks")[2].split("\n### ")[1:]
    stops = [re.findall(r"`([a-z_]+(?:\.\w+)+)`", walk) for walk in walks]

    assert [len(re.findall(r"^\d+\. ", walk, re.MULTILINE)) <= 10 for walk in walks] == [True] * 3
    for stop in (stop for walk in stops for stop in walk):
        assert _find(f"perdure.{stop}") is not None, stop


def _find(path: str) -> object:
    """The function or class of this path; None if there is none."""
    names = path.split(".")
    found: object = importlib.import_module(names[0])
    for place, name in enumerate(names[1:], 2):
        try:
            found = importlib.import_module(".".join(names[:place]))
        except ModuleNotFoundError:
            found = getattr(found, name, None)
    return found


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_the_exported_names_are_sorted_and_there(name: str) -> None:
    package = importlib.import_module(name)

    assert list(package.__all__) == sorted(package.__all__, key=_ruff_order)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def _ruff_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_everything_that_can_be_caught_is_an_error_of_one_root() -> None:
    strays = [
        name
        for module in (perdure.errors, perdure.model.application_errors)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and not issubclass(kind, perdure.PerdureError)
    ]

    assert strays == []


@pytest.mark.parametrize("package", [perdure, perdure.contract, perdure.errors, perdure.testing])
def test_every_public_thing_says_what_it_is(package: ModuleType) -> None:
    silent = [path for name, value in _public(package) for path in _silent(name, value)]

    assert silent == []


def _public(package: ModuleType) -> Iterator[tuple[str, object]]:
    names = getattr(
        package, "__all__", [name for name in vars(package) if not name.startswith("_")]
    )
    for name in names:
        value = getattr(package, name)
        if getattr(value, "__module__", "").startswith("perdure"):
            yield name, value


def _silent(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        if not _own_docstring(value):
            yield name
        for attribute, member in vars(value).items():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            public = not attribute.startswith("_") and inspect.isfunction(function)
            if public and not inspect.getdoc(getattr(value, attribute)):
                yield f"{name}.{attribute}"
    elif inspect.isfunction(value) and not value.__doc__:
        yield name


def _own_docstring(kind: type) -> bool:
    text = vars(kind).get("__doc__")
    return bool(text) and not text.startswith(f"{kind.__name__}(")  # what dataclasses make up


def test_every_module_opens_with_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for project in PROJECTS
        for path in (ROOT / project / "src").rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]

    assert silent == []


@pytest.mark.parametrize("folder", sorted(MAY_USE.keys() - {"client", "codecs", "telemetry"}))
def test_the_docstring_of_a_folder_of_core_names_its_modules(folder: str) -> None:
    says = ast.get_docstring(ast.parse((SOURCE / folder / "__init__.py").read_text("utf-8"))) or ""
    modules = {file.stem for file in (SOURCE / folder).glob("*.py")} - {"__init__"}

    assert sorted(name for name in modules if f"`{name}`" not in says) == []


def test_all_packages_have_one_version_and_ask_for_a_range_of_core() -> None:
    projects = {name: _project(name) for name in PROJECTS}

    assert len({project["version"] for project in projects.values()}) == 1
    version = projects["packages/core"]["version"]
    major, minor, _ = version.split(".")
    for name, project in projects.items():
        wanted = [entry for entry in project["dependencies"] if entry.startswith("perdure")]
        assert (
            wanted == []
            if name == "packages/core"
            else [f"perdure>={major}.{minor},<{major}.{int(minor) + 1}"]
        )


def test_all_packages_are_alike_where_they_should_be() -> None:
    projects = [_project(name) for name in PROJECTS]

    assert {project["requires-python"] for project in projects} == {">=3.11"}
    assert {project["license"] for project in projects} == {"Apache-2.0"}
    texts = {(ROOT / name / "LICENSE").read_text("utf-8") for name in PROJECTS}
    assert texts == {(ROOT / "LICENSE").read_text("utf-8")}
    for name in PROJECTS:
        (source,) = [
            path for path in (ROOT / name / "src").iterdir() if path.name.startswith("perdure")
        ]
        assert (source / "py.typed").exists(), name
        assert len((ROOT / name / "README.md").read_text("utf-8").splitlines()) > 5, name


def _project(name: str) -> dict[str, object]:
    return tomllib.loads((ROOT / name / "pyproject.toml").read_text("utf-8"))["project"]


def test_nothing_that_is_committed_names_a_place_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    line = ["git", "ls-files", "-z"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, check=True)
    needles = (f"{Path.home()}/", f"{ROOT}/")

    found = [
        f"{name}: {needle}"
        for name in listed.stdout.decode().split("\0")
        if name and (ROOT / name).is_file()
        for needle in needles
        if needle in (ROOT / name).read_text("utf-8", errors="replace")
    ]

    assert found == []


def test_the_names_of_perdure_are_imported_when_they_are_used_from_where_type_checkers_see_them() -> (
    None
):
    [for_types] = (node for node in ast.parse(SOURCE.joinpath("__init__.py").read_text("utf-8")).body
                   if isinstance(node, ast.If))  # fmt: skip
    seen = {
        alias.name: node.module
        for node in for_types.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert sorted(seen) == perdure.__all__
    for name, module in seen.items():
        assert module is not None
        assert getattr(perdure, name) is getattr(importlib.import_module(module), name)
    assert {*perdure.__all__, "errors", "contract"} <= {*dir(perdure)}
    with pytest.raises(AttributeError, match="'perdure' has no attribute 'Regisry'"):
        perdure.Regisry  # noqa: B018 # pyright: ignore[reportAttributeAccessIssue]


def test_importing_perdure_loads_only_what_is_used_of_it() -> None:
    bare = _run("import perdure, sys; print(*sys.modules)").split()
    starting = _run("import perdure, sys; perdure.Client; print(*sys.modules)").split()

    assert [name for name in bare if name.startswith("perdure")] == ["perdure"]
    assert not {"asyncio", "pluggy", "pydantic_core"}.intersection(bare)
    assert not [name for name in starting if name.startswith(("perdure.runtime", "perdure.replay"))]


def test_importing_core_loads_no_driver_and_no_provider() -> None:
    loaded = _run("from perdure import *; import sys; print(*sys.modules)").split()
    installed = {
        module.name for module in pkgutil.iter_modules() if module.name.startswith("perdure_")
    }

    assert installed >= {"perdure_memory", "perdure_sqlite"}
    # What an import costs is what it loads: core's dependencies, without pydantic's models.
    packages = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    others = {name for name in packages if not name.startswith(("_", "sitecustomize"))}
    assert others == {"perdure", "pluggy", "pydantic_core", "typing_extensions"}
    assert not {"sqlite3", "http", "concurrent.futures.process"}.intersection(loaded)


def _run(code: str) -> str:
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def test_every_hook_is_implemented_by_a_test_or_by_a_provider_that_is_tested() -> None:
    places = [ROOT / name / "tests" for name in PROJECTS]
    places += [ROOT / name / "src" for name in PROJECTS if "provider" in name]
    text = "".join(
        path.read_text("utf-8")
        for place in places
        for path in place.rglob("*.py")
        if path != Path(__file__)
    )
    backend = importlib.import_module("perdure_conformance.backend")
    hooks = [
        name
        for module in (perdure.contract.hooks, backend)
        for name, value in vars(module).items()
        if hasattr(value, "perdure_spec")
    ]

    assert len(hooks) >= 4
    assert [name for name in hooks if f"def {name}(" not in text] == []
