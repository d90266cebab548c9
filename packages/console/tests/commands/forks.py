"""Runs the installed script many times for the price of one start: each run is a fork of this process.

Python, the console and the driver of a storage take most of a second of processor time to load; what
a command then does takes a tenth of that. `python forks.py SCRIPT WORDS` runs the script with these
words first, in this process, and says which modules that has loaded. Then each line of the input is a
JSON array of runs. The answer is their exit codes, when all of them have ended. Few run at once:
each gives up on a storage that does not answer for some seconds, and a busy machine is no such storage.
"""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import sys
from contextlib import redirect_stdout

AT_ONCE = 3


def main(script: str, words: list[str]) -> None:
    """Serve the lines of the input; in a fork, run the script, and return when it has ended."""
    with redirect_stdout(io.StringIO()):
        _run(script, words)
    gc.freeze()  # so that collections in the forks do not copy what is loaded
    print(json.dumps(sorted(sys.modules)), flush=True)
    for line in sys.stdin:
        started: list[int] = []
        ended: dict[int, int] = {}
        for run in json.loads(line):
            if len(started) - len(ended) == AT_ONCE:
                _wait(ended)
            pid = os.fork()
            if pid == 0:
                _write_to(run["out"], run["err"])
                sys.exit(_run(script, run["words"]))
            started.append(pid)
        while len(ended) < len(started):
            _wait(ended)
        codes = [ended[pid] for pid in started]
        print(json.dumps(codes), flush=True)


def _wait(ended: dict[int, int]) -> None:
    """Wait until one of the runs has ended, and note its exit code."""
    pid, status = os.wait()
    ended[pid] = os.waitstatus_to_exitcode(status)


def _run(script: str, words: list[str]) -> int:
    """Run the script as Python does, and return its exit code."""
    sys.argv[:] = [script, *words]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _write_to(out: str, err: str) -> None:
    """Let this process read nothing, and write to these files."""
    for path, mode, descriptor in (
        (os.devnull, os.O_RDONLY, 0),
        (out, os.O_WRONLY | os.O_CREAT, 1),
        (err, os.O_WRONLY | os.O_CREAT, 2),
    ):
        opened = os.open(path, mode, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
