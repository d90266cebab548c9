"""Opening a file: its connections, their settings, and its tables.

SQLAlchemy makes the connections and the tables; the operations use the driver's connections
beneath. Everything here blocks, and runs in the worker thread.

The file is in WAL mode: one connection writes, any number read. With durability `full` every
commit is synced before it is acknowledged. SQLite syncs the directory when it creates the log.
"""

from __future__ import annotations

import ctypes
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from perdure.errors import ProviderError, StorageFailed
from sqlalchemy import URL, Connection, Engine, create_engine, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from perdure_sqlite._file.creation import ensure_file
from perdure_sqlite._file.errors import is_busy, provider_error
from perdure_sqlite._file.identity import FileIdentity, FileReplaced, replaced_error
from perdure_sqlite._schema.counts import add_missing_counts
from perdure_sqlite._schema.ids_in_use import add_missing_ids_in_use
from perdure_sqlite._schema.migrations import add_missing_indexes, migrate
from perdure_sqlite._schema.tables import namespaces

Result = TypeVar("Result")

_STATEMENTS = 256
"""More than this package has, so that each is prepared once."""
_WRITER_CACHE_KIB, _READER_CACHE_KIB = 32 * 1024, 8 * 1024
_LARGEST_IDLE_WAL = 64 * 1024 * 1024
_LONGEST_PAUSE = 0.05


@dataclass(slots=True, kw_only=True)
class Database:
    """An open file with one connection for writing and one for reading."""

    engine: Engine
    writing: Connection
    reading: Connection
    namespace: int
    """The number of the namespace."""
    identity: FileIdentity

    @property
    def writer(self) -> sqlite3.Connection:
        """The driver's connection for writing."""
        return _driver(self.writing)

    @property
    def reader(self) -> sqlite3.Connection:
        """The driver's connection for reading in the event loop."""
        return _driver(self.reading)

    def scan(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
        """The rows of a long-running statement, read on a connection of its own."""
        # Never connect to a file that has replaced this one: closing it might lose its log.
        self.identity.check()
        with self.engine.connect() as connection:
            driver = _driver(connection)
            driver.execute("PRAGMA query_only=1")
            return driver.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Copy the log into the file, if no other connection reads it, and close the file."""
        if self.identity.is_log_replaced:
            for connection in (self.reading, self.writing):
                _abandon(connection)
            return
        try:
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            # The next open reads the log, so nothing is lost.
            pass
        finally:
            self.reading.close()
            self.writing.close()
            self.engine.dispose()


def open_database(
    path: Path, *, namespace: str, durable: bool, patience: float, create: bool = True
) -> Database:
    """Open or create the file; raises a `ProviderError` that names it."""
    file = str(path)
    _check_path(path)
    if not create and not path.exists():
        raise StorageFailed(
            f"the file {file!r} does not exist; correct the path, or start a runtime on it first",
            operation="open",
        )
    engine = create_engine(
        URL.create("sqlite", database=file),
        poolclass=NullPool,
        connect_args={
            "timeout": min(patience, 1.0),
            "isolation_level": None,
            "check_same_thread": False,
            "cached_statements": _STATEMENTS,
        },
    )
    try:
        ensure_file(path, durable=durable, patience=patience)
        return _patiently(lambda: _open(engine, file, namespace, durable=durable), patience)
    except FileReplaced as reason:
        engine.dispose()
        raise replaced_error(reason, file=file, operation="open") from reason
    except (sqlite3.Error, DBAPIError) as error:
        raise _failure(error, file) from _cause(error)
    except BaseException:
        engine.dispose()
        raise


def _check_path(path: Path) -> None:
    """Raise with the reason where SQLite would only say that it cannot open the file."""
    file = str(path)
    try:
        has_directory, is_directory = path.parent.is_dir(), path.is_dir()
    except OSError as error:
        raise StorageFailed(
            f"the file {file!r} cannot be reached ({error.strerror}); allow this process to enter its"
            " directory",
            operation="open",
        ) from error
    if not has_directory:
        raise StorageFailed(
            f"the directory of {file!r} does not exist; create it, or correct the path",
            operation="open",
        )
    if is_directory:
        raise StorageFailed(f"{file!r} is a directory; name a file in it", operation="open")


def _open(engine: Engine, file: str, namespace: str, *, durable: bool) -> Database:
    opened: list[Connection] = []
    try:
        identity = FileIdentity(file)
        writing = engine.connect()
        opened.append(writing)
        _prepare_writer(writing, file, durable=durable)
        number = _prepare_tables(writing, file, namespace)
        reading = engine.connect()
        opened.append(reading)
        _prepare_reader(reading)
        identity.remember_log()
        identity.check()
        return Database(
            engine=engine, writing=writing, reading=reading, namespace=number, identity=identity
        )
    except BaseException:
        for connection in opened:
            connection.close()
        raise


def _prepare_writer(connection: Connection, file: str, *, durable: bool) -> None:
    driver = _driver(connection)
    (mode,) = driver.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StorageFailed(
            f"the file {file!r} does not support a write-ahead log (journal mode {mode!r}); put"
            " it on a local disk",
            operation="open",
        )
    driver.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    driver.execute(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}")
    driver.execute(f"PRAGMA journal_size_limit={_LARGEST_IDLE_WAL}").fetchall()


def _prepare_tables(connection: Connection, file: str, namespace: str) -> int:
    """Create or migrate the tables; returns the number of the namespace."""
    driver = _driver(connection)
    driver.execute("BEGIN IMMEDIATE")
    try:
        migrate(connection, file=file)
        add_missing_indexes(connection, file=file)
        add_missing_counts(connection)
        add_missing_ids_in_use(connection)
        of_name = select(namespaces.c.number).where(namespaces.c.name == namespace)
        number = connection.execute(of_name).scalar()
        if number is None:
            connection.execute(insert(namespaces).values(name=namespace, stamp=0))
            number = connection.execute(of_name).scalar_one()
        driver.execute("COMMIT")
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK")
        raise
    # SQLAlchemy keeps a transaction of its own, which the driver does not know.
    connection.rollback()
    # SQLite must not wait for locks from here on: that would block the event loop.
    driver.execute("PRAGMA busy_timeout=0").fetchall()
    return number


def _prepare_reader(connection: Connection) -> None:
    driver = _driver(connection)
    driver.execute("PRAGMA query_only=1")
    driver.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
    # The first read may find the file locked, so it happens here, where that is retried.
    driver.execute("SELECT count(*) FROM perdure_meta").fetchall()
    driver.execute("PRAGMA busy_timeout=0").fetchall()


def _patiently(open_file: Callable[[], Result], patience: float) -> Result:
    """Retry while other connections lock the file: SQLite does not wait for every lock itself."""
    give_up_at = time.monotonic() + patience
    while True:
        try:
            return open_file()
        except (sqlite3.Error, DBAPIError) as error:
            if not is_busy(_cause(error)) or time.monotonic() >= give_up_at:
                raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 # jitter


def _abandon(connection: Connection) -> None:
    """Leak the connection: closing it would delete the log at the path, of another file."""
    # Python has no setting for this before 3.12, and it closes a connection that it collects.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_driver(connection)))


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"{driver!r} is not a connection of the sqlite3 module")
    return driver


def _cause(error: BaseException) -> BaseException:
    original = error.orig if isinstance(error, DBAPIError) else None
    return original if original is not None else error


def _failure(error: BaseException, file: str) -> ProviderError:
    return provider_error(_cause(error), file=file, operation="open")
