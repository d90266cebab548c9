"""The command checks and exports histories, and says by its exit code what it found."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import perdure
import pytest
from perdure import HistoryDocument, InvalidInput
from perdure.testing import Stage
from perdure_console import main
from perdure_console.applications import load_app
from perdure_console.commands.histories import file_name

ORDERS = """
import asyncio
import perdure

app = perdure.Registry()
more = [app, perdure.Registry()]
number = 5

@app.activity
async def charge(cents: int) -> str:
    return f"charged {cents}"

@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
    receipt = await ctx.schedule_activity(charge, cents)
    await ctx.schedule_wait("shipped")
    return receipt

@app.orchestration
async def greet(ctx: perdure.OrchestrationContext) -> str:
    return "hello"
"""
EDITED = ORDERS.replace(
    "    receipt = await", "    await ctx.schedule_timer(1)\n    receipt = await"
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a storage, and with two programs: as it was, and edited."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "orders.py").write_text(ORDERS, "utf-8")
    (folder / "edited.py").write_text(EDITED, "utf-8")
    (folder / "broken.py").write_text("import not_there", "utf-8")
    namespace: dict[str, perdure.Registry] = {"__name__": "orders"}  # pyright: ignore[reportAssignmentType] # what exec fills
    exec(compile(ORDERS, str(folder / "orders.py"), "exec"), namespace)  # noqa: S102 # the program above
    asyncio.run(_run(f"sqlite:///{folder}/live.db", namespace["app"]))
    return folder


async def _run(url: str, app: perdure.Registry) -> None:
    async with Stage(app, url=url) as stage:
        for name in ("pay/1", "pay 2"):
            await stage.client.start_orchestration(name, "pay", "31337")
            await stage.settle()
        hello = await stage.client.start_orchestration("hello", "greet")
        await hello.wait()


@pytest.fixture
def run(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command in the folder; the exit code, and what it said."""
    monkeypatch.chdir(stored)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("orders", "edited", "broken"):
        # Other tests of the same process may have imported programs of these names.
        monkeypatch.delitem(sys.modules, name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        return code, *capsys.readouterr()

    yield run
    for name in ("orders", "edited", "broken"):
        sys.modules.pop(name, None)


def test_code_that_agrees_with_a_storage_exits_with_0(run) -> None:
    code, out, err = run("check", "orders:app", "--url", "sqlite:///live.db", "--strict")

    assert (code, err) == (0, "")
    assert out == "3 executions: 3 agree, 0 disagree, 0 not replayed\n"


def test_code_that_disagrees_exits_with_1_and_says_where(run) -> None:
    words = ("check", "edited:app", "--url", "sqlite:///live.db", "--running")
    code, out, _ = run(*words)

    assert code == 1
    assert "pay/1, execution 1 (pay 1.0.0): disagrees" in out
    assert "history: ActivityScheduled(name='charge'" in out
    assert "at edited:15 in pay" in out
    assert out.endswith("2 executions: 0 agree, 2 disagree, 0 not replayed\n")

    code, out, _ = run(*words, "--json")
    assert code == 1
    assert [each["verdict"] for each in json.loads(out)["executions"]] == ["disagrees"] * 2


@pytest.mark.parametrize("flag", [None, "--hash-payloads", "--no-payloads"])
def test_exported_histories_are_checked_without_the_storage(
    run, tmp_path: Path, flag: str | None
) -> None:
    flags = [] if flag is None else [flag]
    folder = tmp_path / "new" / "it"
    code, _, err = run("export", "--url", "sqlite:///live.db", str(folder), *flags)
    assert (code, err) == (0, "")

    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["hello.json", "pay 2.json", "pay%2F1.json"]
    document = HistoryDocument.from_json(files[2].read_bytes())
    assert document.instance == "pay/1"
    assert ("31337" in files[2].read_text("utf-8")) is (flag is None)

    code, out, _ = run("check", "orders:app", "--histories", str(tmp_path), "--verbose")
    assert code == 0
    assert "pay 2, execution 1 (pay 1.0.0): agrees\norchestration waits at orders:16 in pay" in (
        out.replace("\n  ", "\n")
    )
    assert run("check", "edited:app", "--histories", str(tmp_path))[0] == 1


def test_only_some_instances_are_exported_on_request(run, tmp_path: Path) -> None:
    def exported(*flags: str) -> set[str]:
        folder = tmp_path / "-".join(flags)
        assert run("export", "--url", "sqlite:///live.db", str(folder), *flags)[0] == 0
        return {path.name for path in folder.iterdir()}

    assert exported("--running") == {"pay 2.json", "pay%2F1.json"}
    assert exported("--orchestration", "greet") == {"hello.json"}
    assert len(exported("--sample", "2")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "orders", "--histories", "."], "'orders' names no registry"),
        (["check", "nowhere:app", "--histories", "."], "'nowhere:app' cannot be imported"),
        (["check", "broken:app", "--histories", "."], "No module named 'not_there'"),
        (["check", "orders:other", "--histories", "."], "module 'orders' has no 'other'"),
        (["check", "orders:number", "--histories", "."], "'orders:number' is no Registry"),
        (["check", "orders:app", "--histories", "."], "'.' has no history"),
        (["check", "orders:app", "--url", "memory://"], "there was nothing to check"),
        (
            ["check", "orders:app", "--url", "sqlite:///live.db?namespace=x"],
            "there was nothing to check",
        ),
        (["check", "orders:app", "--url", "nothing://x"], "nothing"),
        (["export", "--url", "nothing://x", "there"], "nothing"),
    ],
)
def test_what_cannot_be_checked_exits_with_2_and_says_why(
    run, words: list[str], message: str
) -> None:
    code, _, err = run(*words)

    assert code == 2
    assert message in err


def test_a_list_of_registries_is_an_application(run) -> None:
    assert len(load_app("orders:more")) == 2
    with pytest.raises(InvalidInput, match="no Registry"):
        load_app("orders:perdure")


def test_every_instance_has_a_file_of_its_own() -> None:
    ids = ["a/b", "a b", "a%2Fb", "ä" * 250, "ä" * 249 + "b", "..", "con"]
    names = [file_name(each) for each in ids]

    assert len(set(names)) == len(ids)
    assert max(len(name.encode()) for name in names) < 255
    assert not [name for name in names if "/" in name]
