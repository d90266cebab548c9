"""Endpoints are killed at each point of their transaction: an order is there exactly if its orchestration is."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import perdure
import psycopg
import pytest
from perdure.contract import ProviderUrl
from perdure_postgres import PostgresOptions
from perdure_postgres.testing.fixtures import postgres_url

__all__ = ["postgres_url"]

SOCKET = ".s.PGSQL.5432"
PART = 1 << 16


def post_orders(example: str, folder: Path, **environment: str) -> None:
    """Let one process after the other post an order, until one lives."""
    framework = example.partition("_")[0]
    pytest.importorskip(framework, reason=f"{framework}, of the group `test`, is not installed")
    program = Path(__file__).with_name("killed_endpoint.py")
    words = [sys.executable, str(program), example]
    subprocess.run(words, cwd=folder, env=os.environ | environment, check=True)


def check(orders: list[str], url: str) -> None:
    with perdure.BlockingClient.open(url) as client:
        started = list(client.list_all_instances())
    assert sorted(started) == orders
    # The first processes were killed before their commits.
    assert int(orders[0]) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("example", ["fastapi_orders", "django_orders"])
def test_an_endpoint_that_is_killed_at_any_statement_leaves_both_or_neither(
    example: str, tmp_path: Path
) -> None:
    post_orders(example, tmp_path)

    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        rows = connection.execute("SELECT number FROM orders ORDER BY number").fetchall()
    check([number for (number,) in rows], f"sqlite:///{tmp_path}/shop.db")


class Between:
    """Stands between processes and a server, and kills each process at another of its messages.

    A process dies before its message reaches the server; the next one dies when the server has answered
    the same message, and before it knows that.
    """

    def __init__(self, folder: str, server: str) -> None:
        self._server = server
        self._listens = socket.socket(socket.AF_UNIX)
        self._listens.bind(f"{folder}/{SOCKET}")
        self._listens.listen()
        self._relays: list[threading.Thread] = []
        self._accepts = threading.Thread(target=self._accept)
        self._accepts.start()

    def close(self) -> None:
        self._listens.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepts, *self._relays):
            thread.join()
        self._listens.close()

    def _accept(self) -> None:
        with suppress(OSError):
            for number in itertools.count():
                process, _ = self._listens.accept()
                relay = threading.Thread(target=self._relay, args=(process, number))
                relay.start()
                self._relays.append(relay)

    def _relay(self, process: socket.socket, number: int) -> None:
        messages, is_at_the_end = itertools.count(), False
        with process, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            while True:
                ready, _, _ = select.select([process, server], [], [])
                data = ready[0].recv(PART)
                is_message = ready[0] is process
                is_at_the_end |= is_message and next(messages) == number // 2
                if not data:
                    break
                if is_at_the_end and is_message == (number % 2 == 0):
                    kill_peer(process)
                    break
                (server if is_message else process).sendall(data)


def kill_peer(connection: socket.socket) -> None:
    size = struct.calcsize("3i")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    process, _, _ = struct.unpack("3i", peer)
    os.kill(process, signal.SIGKILL)


@contextmanager
def own_database(url: str) -> Generator[tuple[str, str]]:
    """The name of a new database, and the URL of a provider on it; it has the tables of a shop."""
    name = f"shop_{os.getpid()}_{time.monotonic_ns()}"
    own = url.replace("/postgres?", f"/{name}?")
    with connected(url) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            with perdure.BlockingClient.open(own):
                pass  # makes the tables of Perdure
            with connected(own) as shop:
                shop.execute("CREATE TABLE orders (number text PRIMARY KEY)")
            yield name, own
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def connected(url: str) -> psycopg.Connection:
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    return psycopg.connect(**conninfo, autocommit=True)  # pyright: ignore[reportArgumentType] # texts


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="a socket tells no process here")
@pytest.mark.parametrize("example", ["fastapi_on_postgres", "django_on_postgres"])
def test_an_endpoint_that_is_killed_at_any_message_to_postgresql_leaves_both_or_neither(
    example: str, tmp_path: Path, postgres_url: str
) -> None:
    host = PostgresOptions.from_url(ProviderUrl.parse(postgres_url)).conninfo["host"]
    # The path of a socket has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
        own_database(postgres_url) as (name, own),
    ):
        with closing(Between(folder, f"{host}/{SOCKET}")):
            where = {"PGHOST": folder, "PGDATABASE": name, "PGUSER": "postgres"}
            post_orders(example, tmp_path, **where)

        with connected(own) as connection:
            rows = connection.execute("SELECT number FROM orders ORDER BY number").fetchall()
        check([number for (number,) in rows], own)
