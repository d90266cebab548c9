"""Opening a file: connections, their settings, and the tables.

SQLAlchemy makes the connections, the tables and the statements; the operations then use the
driver's connections beneath. Everything here blocks, and is called in the worker's thread.

The file is in WAL mode: one writes, everybody reads. With durability `full` every commit is
synced before it is acknowledged; SQLite syncs the directory when it creates the file.
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

from perdure_sqlite._failures import failure_of, is_busy
from perdure_sqlite._migrations import bring_up_to_date, complete
from perdure_sqlite._new_file import ensure_file
from perdure_sqlite._place import Displaced, Place, displaced
from perdure_sqlite._tables import namespaces

Result = TypeVar("Result")

_STATEMENTS = 256
"""More than there are, so that each is prepared once."""
_WRITER_CACHE_KIB, _READER_CACHE_KIB = 32 * 1024, 8 * 1024
_LARGEST_IDLE_WAL = 64 * 1024 * 1024
_LONGEST_PAUSE = 0.05


@dataclass(slots=True, kw_only=True)
class Database:
    """An open file: one connection that writes, one that reads."""

    engine: Engine
    writing: Connection
    reading: Connection
    namespace: int
    """The number of the namespace."""
    place: Place

    @property
    def writer(self) -> sqlite3.Connection:
        """The driver's connection for writing."""
        return _driver(self.writing)

    @property
    def reader(self) -> sqlite3.Connection:
        """The driver's connection for reading in the event loop."""
        return _driver(self.reading)

    def scan(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
        """The rows of a statement that may take long, on a connection of its own."""
        # Never open what has come to the place: closed again, it might lose what is in its log.
        self.place.check()
        with self.engine.connect() as connection:
            driver = _driver(connection)
            driver.execute("PRAGMA query_only=1")
            return driver.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Move what the log holds into the file where nobody else reads, and close it."""
        if self.place.is_taken:
            for connection in (self.reading, self.writing):
                _abandon(connection)
            return
        try:
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            # The log is read at the next open: nothing is lost, and closing goes on.
            pass
        finally:
            self.reading.close()
            self.writing.close()
            self.engine.dispose()


def open_database(path: Path, *, namespace: str, durable: bool, patience: float) -> Database:
    """Open the file, or create it; raises a `ProviderError` that names it."""
    file = str(path)
    _check_place(path)
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
    except Displaced as reason:
        engine.dispose()
        raise displaced(reason, file=file, operation="open") from reason
    except (sqlite3.Error, DBAPIError) as error:
        raise _failure(error, file) from _cause(error)
    except BaseException:
        engine.dispose()
        raise


def _check_place(path: Path) -> None:
    """Raise where SQLite would only say that it cannot open the file."""
    file = str(path)
    try:
        has_directory, is_directory = path.parent.is_dir(), path.is_dir()
    except OSError as error:
        raise StorageFailed(
            f"the file {file!r} is out of reach ({error.strerror}); allow this process to enter its"
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
        place = Place(file)
        writing = engine.connect()
        opened.append(writing)
        _prepare_writer(writing, file, durable=durable)
        number = _prepare_tables(writing, file, namespace)
        reading = engine.connect()
        opened.append(reading)
        _prepare_reader(reading)
        place.note_log()
        place.check()
        return Database(
            engine=engine, writing=writing, reading=reading, namespace=number, place=place
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
            f"the file {file!r} does not take a write-ahead log (journal mode {mode!r}); put it on"
            " a local disk",
            operation="open",
        )
    driver.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    driver.execute(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}")
    driver.execute(f"PRAGMA journal_size_limit={_LARGEST_IDLE_WAL}").fetchall()


def _prepare_tables(connection: Connection, file: str, namespace: str) -> int:
    """The number of the namespace, in tables that are there and up to date."""
    driver = _driver(connection)
    driver.execute("BEGIN IMMEDIATE")
    try:
        bring_up_to_date(connection, file=file)
        complete(connection, file=file)
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
    # SQLAlchemy counts a transaction of its own, of which the driver knows nothing.
    connection.rollback()
    # From here on nothing waits for a lock inside SQLite: that would keep the event loop.
    driver.execute("PRAGMA busy_timeout=0").fetchall()
    return number


def _prepare_reader(connection: Connection) -> None:
    driver = _driver(connection)
    driver.execute("PRAGMA query_only=1")
    driver.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
    # The first look at the file may find it locked, so it is done here.
    driver.execute("SELECT count(*) FROM perdure_meta").fetchall()
    driver.execute("PRAGMA busy_timeout=0").fetchall()


def _patiently(open_file: Callable[[], Result], patience: float) -> Result:
    """Try again while others hold the file: SQLite doesn't wait for every lock by itself."""
    give_up_at = time.monotonic() + patience
    while True:
        try:
            return open_file()
        except (sqlite3.Error, DBAPIError) as error:
            if not is_busy(_cause(error)) or time.monotonic() >= give_up_at:
                raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 # jitter


def _abandon(connection: Connection) -> None:
    """Never close it: SQLite would delete the log at the path, which belongs to another file."""
    # There is no setting for that before Python 3.12, and whatever is collected is closed.
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
    return failure_of(_cause(error), file=file, operation="open")
