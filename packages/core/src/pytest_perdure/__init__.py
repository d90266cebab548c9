"""The pytest plugin of Perdure: one test for each stored history, and stages that are closed.

    @pytest.mark.perdure_histories("tests/histories")
    def test_the_code_agrees(perdure_history: perdure.HistoryDocument) -> None:
        check_history(perdure_history, app).raise_if_disagrees()

    async def test_the_reminder(perdure_stage: Callable[..., Stage]) -> None:
        async with perdure_stage(app) as stage:
            ...

It stands beside the package `perdure`, and imports it with the first use: pytest loads the
plugins of an environment with every run, also of tests that don't use Perdure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from perdure import HistoryDocument, Registry
    from perdure.testing import Stage

_MARKER = "perdure_histories"
_FIXTURE = "perdure_history"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that pytest accepts it with strict markers."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(folder, ...): run the test once for each history file in the folders, which"
        f" are relative to the root of the tests; the fixture {_FIXTURE} is the document",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each history file."""
    folders = [
        cast("str", folder)
        for marker in metafunc.definition.iter_markers(_MARKER)
        for folder in marker.args
    ]
    if not folders:
        return
    if _FIXTURE not in metafunc.fixturenames:
        pytest.fail(
            f"a test with the marker {_MARKER} gets each history as its argument {_FIXTURE}; add"
            " the argument",
            pytrace=False,
        )
    files = [
        (path, path.relative_to(root).with_suffix("").as_posix())
        for folder in folders
        for root in [metafunc.config.rootpath / folder]
        for path in _files_of(root)
    ]
    metafunc.parametrize(
        _FIXTURE, [path for path, _ in files], ids=[name for _, name in files], indirect=True
    )


def _files_of(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.json"))
    if not found:
        # A test without a history would always pass.
        pytest.fail(
            f"{str(folder)!r} has no history; write some with `perdure export`", pytrace=False
        )
    return found


@pytest.fixture
def perdure_history(request: pytest.FixtureRequest) -> HistoryDocument:
    """The history that this run of the test is about."""
    path = getattr(request, "param", None)
    if not isinstance(path, Path):
        pytest.fail(
            f'{_FIXTURE} comes from a folder; mark the test with @pytest.mark.{_MARKER}("FOLDER")',
            pytrace=False,
        )
    from perdure.testing.history_sources import read_document

    return read_document(path)


@pytest.fixture
def perdure_stage() -> Iterator[Callable[..., Stage]]:
    """Makes stages, with the arguments of `Stage`; fails the test if one of them was not closed."""
    from perdure.testing import Stage

    made: list[Stage] = []

    def stage(*registries: Registry, **settings: Any) -> Stage:
        made.append(Stage(*registries, **settings))
        return made[-1]

    yield stage
    left = sum(not each.is_closed for each in made)
    if left:
        pytest.fail(
            f"the test made {len(made)} stages and did not close {left} of them; enter each one"
            " with `async with`",
            pytrace=False,
        )
