"""The installed script in a process: on a terminal, in a pipe, without colours, interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

from .conftest import work

pytestmark = pytest.mark.slow


def script() -> str:
    found = shutil.which("perdure", path=sysconfig.get_path("scripts"))
    assert found is not None, "the script is installed with the package"
    return found


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "COLUMNS": "80", "TERM": "xterm-256color", **more}


def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script(), *words],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_misspelt_file_is_a_sentence_and_no_new_file(tmp_path: Path) -> None:
    done = run("list", "--url", f"sqlite:///{tmp_path}/typo.db")

    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"perdure: the file '.*typo\.db' does not exist; .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_the_script_starts_shows_and_ends_an_instance(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    (tmp_path / "cup.json").write_text('"cup"', "utf-8")

    started = run("start", "order-1", "pay", f"@{tmp_path}/cup.json", PERDURE_URL=url)
    assert (started.returncode, started.stdout, started.stderr) == (0, "started order-1\n", "")
    asyncio.run(work(url, "order-1", is_open=True))
    waited = run("wait", "order-1", "--json", PERDURE_URL=url)
    assert json.loads(waited.stdout)["output"] == "charged cup"
    purged = run("purge", "--older-than", "0s", "--yes", PERDURE_URL=url)
    assert (purged.returncode, purged.stdout) == (0, "deleted 1 instance\n")


def test_wrong_use_exits_with_2_and_a_sentence() -> None:
    done = run("list", "--limt", "3")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("perdure: No such option: --limt")
    assert len(done.stderr.splitlines()) == 1


def test_a_store_in_memory_is_empty_but_answers() -> None:
    done = run("--url", "memory://", "list")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def on_a_terminal(*words: str, **more: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    reader, writer = pty.openpty()
    started = subprocess.Popen(
        [script(), *words], stdin=writer, stdout=writer, stderr=writer, env=environment(**more)
    )
    os.close(writer)
    said = b""
    while True:
        try:
            if not select.select([reader], [], [], 30)[0]:
                break
            part = os.read(reader, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        said += part
    os.close(reader)
    started.wait(30)
    return said.decode()


def test_a_terminal_gets_a_table_of_80_columns_and_colours_unless_it_wants_none(url: str) -> None:
    said = on_a_terminal("list", "--url", url)
    plain = on_a_terminal("list", "--url", url, NO_COLOR="1")

    assert "\x1b[36mrunning" in said
    assert "\x1b[3" not in plain
    for text in (said, plain):
        lines = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text).splitlines()
        assert lines[0].split() == ["INSTANCE", "ORCHESTRATION", "STATUS", "UPDATED", "(UTC)"]
        assert max(map(len, lines)) <= 80
    assert "\x1b" not in run("list", "--url", url).stdout


def test_a_closed_pipe_is_no_error(url: str) -> None:
    for words in (("history", "order-1", "--url", url, "--json"), ("list", "--help")):
        line = [script(), *words]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
            assert started.stdout is not None
            started.stdout.close()
            assert started.stderr is not None
            complaint = started.stderr.read()

        assert (started.returncode, complaint) == (0, b"")


def test_ctrl_c_ends_a_wait_without_a_trace(url: str) -> None:
    words = [script(), "wait", "order-2", "--url", url]
    started = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    said = started.stderr.readline()
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)

    assert "waits for event 'go'" in said
    assert (started.returncode, out, err) == (130, "", "")


def test_what_could_steer_a_terminal_is_shown_as_an_escape(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hostile.db"
    hostile = "a\u202eb"
    words = ("start", hostile, "pay", json.dumps("\u009b31m"), "--url", url)
    assert run(*words).returncode == 0

    for words in (("list",), ("list", "--json")):
        said = run(*words, "--url", url)
        assert said.returncode == 0
        assert "\u202e" not in said.stdout
        assert "u202e" in said.stdout


def test_following_a_history_ends_with_the_instance(url: str) -> None:
    words = [script(), "history", "order-2", "--follow", "--json", "--url", url]
    started = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    first = json.loads(started.stdout.readline())
    assert (first["execution"], first["kind"]) == (1, "OrchestrationStarted")

    assert run("raise", "order-2", "go", '"now"', "--url", url).returncode == 0
    asyncio.run(work(url, "order-2"))
    rest = [json.loads(line)["kind"] for line in started.stdout]

    assert rest[-1] == "OrchestrationCompleted"
    assert started.wait(30) == 0
    started.stdout.close()
