"""The installed script in processes: one that runs beside the test, or several and their answers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

_FORKS: Final = Path(__file__).with_name("forks.py")
_PATIENCE: Final = 120
"""Seconds for a command that does not end."""


def script() -> str:
    """Where the package's script is installed."""
    found = shutil.which("perdure", path=sysconfig.get_path("scripts"))
    assert found is not None, "the script is installed with the package"
    return found


def environment(**more: str) -> dict[str, str]:
    """That of this process, with a terminal of 80 columns and colours."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "COLUMNS": "80", "TERM": "xterm-256color", **more}


class Shell:
    """Runs commands in a folder, with the storage in their environment."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._environment = environment(PERDURE_URL=url)
        self._started: list[subprocess.Popen[str]] = []
        self._forks: subprocess.Popen[str] | None = None
        self._runs = 0

    def begin(self, line: str) -> subprocess.Popen[str]:
        """Start a command, such as `wait order-1`."""
        return self._start(script(), *shlex.split(line))

    def ended(self, started: subprocess.Popen[str], code: int = 0) -> str:
        """What a command has printed at its end; it ends with this exit code."""
        out, err = started.communicate(timeout=_PATIENCE)
        assert started.returncode == code, (started.args, err)
        assert code or not err
        return out

    def load(self, line: str) -> frozenset[str]:
        """Run a command in the process that later ones fork from; the modules that it has loaded."""
        self._forks = self._start(sys.executable, "-P", str(_FORKS), script(), *shlex.split(line))
        return frozenset(json.loads(_stream(self._forks.stdout).readline()))

    def answers(self, *lines: str) -> list[Any]:
        """What commands print with `--json`; a few run at once, and all of them succeed."""
        runs = [self._run(f"{line} --json") for line in lines]
        assert self._forks is not None, "load is called first"
        print(json.dumps(runs), file=_stream(self._forks.stdin), flush=True)
        codes = json.loads(_stream(self._forks.stdout).readline())
        for run, code in zip(runs, codes, strict=True):
            err = Path(run["err"]).read_text("utf-8")
            assert (code, err) == (0, ""), (run["words"], code, err)
        return [json.loads(Path(run["out"]).read_text("utf-8")) for run in runs]

    def _run(self, line: str) -> dict[str, Any]:
        self._runs += 1
        out, err = (str(self._folder / f"run-{self._runs}.{name}") for name in ("out", "err"))
        return {"words": shlex.split(line), "out": out, "err": err}

    def _start(self, *words: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            words,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started

    def kill(self) -> None:
        """End what still runs."""
        for started in self._started:
            with started:
                if started.poll() is None:
                    started.kill()


def _stream(given: IO[str] | None) -> IO[str]:
    assert given is not None
    return given


@contextmanager
def shell(folder: Path, url: str) -> Generator[Shell]:
    """A shell; what still runs at the end of the block is killed."""
    opened = Shell(folder, url)
    try:
        yield opened
    finally:
        opened.kill()
