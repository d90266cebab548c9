"""The installed script in a process: on a terminal, in a pipe, without colours, interrupted."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest

from .processes import environment, script

pytestmark = pytest.mark.slow


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


def test_wrong_use_exits_with_2_and_a_sentence() -> None:
    done = run("list", "--limt", "3")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("perdure: No such option: --limt")
    assert len(done.stderr.splitlines()) == 1


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
