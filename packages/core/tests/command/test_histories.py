"""The installed command: checks and exports histories, and says by its exit code what it found."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import perdure
import pytest
from perdure import HistoryDocument, InvalidInput
from perdure.command import main
from perdure.command.histories import file_name, load_app
from perdure.testing import Stage

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


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = shutil.which("perdure", path=sysconfig.get_path("scripts"))
    assert script is not None, "the script is installed with the package"
    return subprocess.run([script, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_code_that_agrees_with_a_storage_exits_with_0(stored: Path) -> None:
    done = run(stored, "check", "orders:app", "--url", "sqlite:///live.db", "--strict")

    assert done.stderr == ""
    assert done.stdout == "3 executions: 3 agree, 0 disagree, 0 not replayed\n"
    assert done.returncode == 0


@pytest.mark.slow
def test_code_that_disagrees_exits_with_1_and_says_where(stored: Path) -> None:
    done = run(stored, "check", "edited:app", "--url", "sqlite:///live.db", "--running")

    assert done.returncode == 1
    assert "pay/1, execution 1 (pay 1.0.0): disagrees" in done.stdout
    assert "history: ActivityScheduled(name='charge'" in done.stdout
    assert "at edited:15 in pay" in done.stdout
    assert done.stdout.endswith("2 executions: 0 agree, 2 disagree, 0 not replayed\n")


@pytest.mark.slow
@pytest.mark.parametrize("flag", [None, "--hash-payloads", "--no-payloads"])
def test_exported_histories_are_checked_without_the_storage(
    stored: Path, tmp_path: Path, flag: str | None
) -> None:
    flags = [] if flag is None else [flag]
    exported = run(stored, "export", "sqlite:///live.db", str(tmp_path / "new" / "it"), *flags)
    assert (exported.returncode, exported.stderr) == (0, "")

    files = sorted((tmp_path / "new" / "it").iterdir())
    assert [path.name for path in files] == ["hello.json", "pay 2.json", "pay%2F1.json"]
    document = HistoryDocument.from_json(files[2].read_bytes())
    assert document.instance == "pay/1"
    assert ("31337" in files[2].read_text("utf-8")) is (flag is None)

    checked = run(stored, "check", "orders:app", "--histories", str(tmp_path), "--verbose")
    assert checked.returncode == 0
    assert "pay 2, execution 1 (pay 1.0.0): agrees\n  orchestration waits at orders:16 in pay" in (
        checked.stdout
    )
    assert run(stored, "check", "edited:app", "--histories", str(tmp_path)).returncode == 1


def test_only_some_instances_are_exported_on_request(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{stored}/live.db"

    def exported(*flags: str) -> set[str]:
        folder = tmp_path / "-".join(flags)
        assert main(["export", url, str(folder), *flags]) == 0
        return {path.name for path in folder.iterdir()}

    assert exported("--running") == {"pay 2.json", "pay%2F1.json"}
    assert exported("--orchestration", "greet") == {"hello.json"}
    assert len(exported("--sample", "2")) == 2
    assert "wrote 2 instances to" in capsys.readouterr().out


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
        (["check", "orders:app", "--url", "sqlite:///empty.db"], "there was nothing to check"),
        (["check", "orders:app", "--url", "nothing://x"], "nothing"),
        (["export", "nothing://x", "there"], "nothing"),
    ],
)
def test_what_cannot_be_checked_exits_with_2_and_says_why(
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(stored)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert main(words) == 2
    assert message in capsys.readouterr().err
    for name in ("orders", "broken"):
        sys.modules.pop(name, None)


def test_a_list_of_registries_is_an_application(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stored)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert len(load_app("orders:more")) == 2
    with pytest.raises(InvalidInput, match="no Registry"):
        load_app("orders:perdure")
    sys.modules.pop("orders", None)


def test_every_instance_has_a_file_of_its_own() -> None:
    ids = ["a/b", "a b", "a%2Fb", "ä" * 250, "ä" * 249 + "b", "..", "con"]
    names = [file_name(each) for each in ids]

    assert len(set(names)) == len(ids)
    assert max(len(name.encode()) for name in names) < 255
    assert not [name for name in names if "/" in name]
