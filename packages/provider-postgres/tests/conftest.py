"""Fixtures of the provider's tests: a PostgreSQL, a pooler, and a schema or namespace for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from perdure.contract import ManualClock, ProviderUrl
from perdure_postgres import PostgresOptions
from perdure_postgres.testing.fixtures import postgres_url, started_for

__all__ = ["postgres_url"]

_NUMBERS = itertools.count(1)
_POOLER = """
[databases]
postgres = user={user} dbname={dbname} host={host} port={port} pool_size=3
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listens}
unix_socket_dir =
auth_type = any
pool_mode = transaction
logfile = {directory}/log
"""


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def url(postgres_url, worker_id):
    """A namespace of its own, in the schema that all tests share."""
    return f"{postgres_url}&namespace=test-{worker_id}-{next(_NUMBERS)}"


@pytest.fixture
def server(tmp_path):
    """A server of the test's own, which it may crash."""
    with started_for(tmp_path) as server:
        yield server


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer in transaction mode, with three connections to the server."""

    url: str
    server: str
    """The server itself, as `listen=` takes it."""


@pytest.fixture(scope="session")
def pooler(postgres_url):
    """A pooler before the server; skips where there is none, but fails in CI."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        why = "no PgBouncer to test with: install Debian's or Ubuntu's package pgbouncer"
        (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)(why)
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(postgres_url)).conninfo
    host, port = conninfo.get("host", "localhost"), conninfo.get("port", "5432")
    with socket.create_server(("127.0.0.1", 0)) as free:
        listens = free.getsockname()[1]
    # A folder of its own, since those of pytest are for the user that runs it alone.
    with tempfile.TemporaryDirectory(prefix="perdure-pooler-") as directory:
        settings = Path(directory, "pooler.ini")
        where = {"host": host, "port": port, "listens": listens, "directory": directory}
        names = {"user": conninfo["user"], "dbname": conninfo["dbname"]}
        settings.write_text(_POOLER.format(**where, **names), "utf-8")
        words = [program, "-q", str(settings)]
        if os.geteuid() == 0:
            # It refuses to run as root; the folder of the socket is its owner's alone.
            Path(directory).chmod(0o777)
            words[1:1] = ["-u", Path(host).owner() if host.startswith("/") else "daemon"]
        with _listening(words, listens):
            server = host.replace("/", "%2F") if host.startswith("/") else f"{host}:{port}"
            yield Pooler(f"postgresql://any@127.0.0.1:{listens}/postgres", server)


@contextmanager
def _listening(words, port):
    """The pooler, from when it listens on."""
    with subprocess.Popen(words) as pooler:
        try:
            while True:
                assert pooler.poll() is None, "the pooler ended"
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield
        finally:
            pooler.terminate()


@pytest.fixture
def schema(postgres_url, worker_id):
    """A schema that does not exist yet; it goes with the test."""
    name = f"schema_{worker_id}_{next(_NUMBERS)}"
    yield name
    execute(postgres_url, f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def role(postgres_url, worker_id):
    """A role without rights; it goes with the test."""
    name = f"role_{worker_id}_{next(_NUMBERS)}"
    execute(postgres_url, f"CREATE ROLE {name} LOGIN")
    yield name
    execute(postgres_url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


@pytest.fixture(name="connect")
def connect_fixture():
    """Opens a connection of the test's own, by the URL of a provider."""
    return connected


@pytest.fixture(name="execute")
def execute_fixture():
    """Runs statements of the test's own, and gives the rows of the last one."""
    return execute


def connected(url):
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    return psycopg.connect(**conninfo, autocommit=True)


def execute(url, *statements):
    rows = []
    with connected(url) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
    return rows
