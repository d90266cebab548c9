"""What is said of a connection that cannot be made: what is wrong, and what to change, or to try again.

Each answer is that of a real server, or of something else that listens where a server should.
"""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import perdure
import psycopg
import pytest
from perdure.contract import ChangeWait, ProviderUrl
from perdure.errors import StorageFailed, StorageUnavailable
from perdure_postgres import PostgresOptions
from perdure_postgres._refusals import advice_on
from perdure_postgres.testing.fixtures import started_for

ROLES = """
CREATE ROLE needs_password LOGIN PASSWORD 'right';
CREATE ROLE rejected LOGIN;
CREATE ROLE no_login;
CREATE ROLE stranger LOGIN;
CREATE ROLE full_up LOGIN CONNECTION LIMIT 0;
CREATE DATABASE closed;
REVOKE CONNECT ON DATABASE closed FROM PUBLIC;
"""
ACCESS = """
local all rejected reject
local all needs_password scram-sha-256
local all all trust
"""
WRONG = {
    "a wrong password": ("needs_password:wrong@/postgres?", "the password is wrong or missing"),
    "no password": ("needs_password@/postgres?", "the password is wrong or missing"),
    "a role that does not exist": ("unknown@/postgres?", "check the user of the URL"),
    "a role that may not connect": ("no_login@/postgres?", "ALTER ROLE … LOGIN"),
    "a role that pg_hba.conf rejects": ("rejected@/postgres?", "check pg_hba.conf"),
    "a missing database": ("postgres@/missing?", "create the database, or correct its name"),
    "a database of others": ("stranger@/closed?", "GRANT CONNECT"),
    "a missing schema": ("postgres@/postgres?schema=missing&", "perdure_postgres migrate URL"),
    "a role without grants": ("stranger@/postgres?", "lacks a grant"),
    "a schema that the role may not make": (
        "stranger@/postgres?schema=other&create=true&",
        "lacks a grant",
    ),
    "an unknown sslmode": ("postgres@/postgres?sslmode=requird&", "correct the URL"),
    "an unknown kind of server": (
        "postgres@/postgres?target_session_attrs=primry&",
        "correct the URL",
    ),
    "a timeout that is no number": ("postgres@/postgres?connect_timeout=soon&", "correct the URL"),
    "an unknown service": ("postgres@/postgres?service=missing&", "correct the URL"),
}
PASSING = {
    "a role with all its connections": ("full_up@/postgres?", "too many connections"),
    "a server of another kind": ("postgres@/postgres?target_session_attrs=standby&", "standby"),
}
NOT_POSTGRES = {
    "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "prefer", "no PostgreSQL answers there"),
    "a web server, asked without TLS": (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "disable",
        "no PostgreSQL answers there",
    ),
    "a server without TLS": (b"N", "require", "check sslmode"),
    "a certificate that nothing can check": (b"S", "verify-full", "check sslmode and sslrootcert"),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The folder of the socket of a server that knows the roles above."""
    with started_for(tmp_path_factory.mktemp("refusals")) as server:
        conninfo = PostgresOptions.from_url(ProviderUrl.parse(server.url)).conninfo
        with psycopg.connect(**conninfo, autocommit=True) as connection:
            for statement in filter(str.strip, ROLES.split(";")):
                connection.execute(statement)
            [access] = connection.execute("SHOW hba_file").fetchone()
            Path(access).write_text(ACCESS, "utf-8")
            connection.execute("SELECT pg_reload_conf()")
            while connection.execute("SELECT count(*) FROM pg_hba_file_rules").fetchone() != (3,):
                time.sleep(0.005)
        asyncio.run(_open(server.url))  # makes the schema
        yield conninfo["host"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Without a password from elsewhere."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nowhere")


async def _open(url):
    async with perdure.open_provider(url):
        pass


async def refusal(url, kind):
    with pytest.raises(kind) as raised:
        await _open(url)
    return str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_said_with_what_to_change(what, host):
    where, advice = WRONG[what]
    said = await refusal(f"postgresql://{where}host={host}", StorageFailed)

    assert advice in said
    assert "try again" not in said
    assert "wrong@" not in said


@pytest.mark.slow
@pytest.mark.parametrize("what", PASSING)
async def test_what_may_pass_is_worth_another_try(what, host):
    where, reason = PASSING[what]
    url = f"postgresql://{where}host={host}&call_timeout=0.1"  # so that it is soon given up
    said = await refusal(url, StorageUnavailable)

    assert reason in said
    assert "try again, or check host and port of the URL" in said


@asynccontextmanager
async def answering(answer):
    """The port of something that gives this answer to each connection."""

    async def greet(reader, writer):
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("what", NOT_POSTGRES)
async def test_what_is_no_server_for_this_url_is_named(what, tmp_path):
    answer, sslmode, advice = NOT_POSTGRES[what]
    async with answering(answer) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode={sslmode}"
        said = await refusal(f"{url}&sslrootcert={tmp_path}/missing.pem", StorageFailed)

    assert advice in said


class Told(logging.Handler):
    """Keeps the first record, and tells of it."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.first = asyncio.get_running_loop().create_future()

    def emit(self, record):
        if not self.first.done():
            self.first.set_result(record.getMessage())


@pytest.mark.slow
async def test_a_connection_that_cannot_listen_is_told_of(host, tmp_path):
    url = f"postgresql://postgres@/postgres?host={host}&listen={quote(str(tmp_path), safe='')}"
    log = logging.getLogger("perdure.postgres")
    told = Told()
    log.addHandler(told)
    try:
        async with perdure.open_provider(url) as provider:
            wait = ChangeWait(instance="order", timeout=timedelta(seconds=30), exists=False)
            waiting = asyncio.ensure_future(provider.wait_for_change(wait))
            async with asyncio.timeout(30):
                said = await told.first
            waiting.cancel()
    finally:
        log.removeHandler(told)

    assert "check host and port of the URL and `listen`" in said
    assert str(tmp_path) in said


REFUSED = (
    'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused'
)
MISTAKEN = (
    'connection failed: connection to server at "127.0.0.2", port 1 failed: FATAL:  password'
    ' authentication failed for user "ada"'
)


@pytest.mark.parametrize(
    ("attempts", "is_wrong"),
    [
        ((MISTAKEN, MISTAKEN), True),
        # The other one may come back, and take the password.
        ((REFUSED, MISTAKEN), False),
        ((MISTAKEN, f"{REFUSED}\n\tIs the server running?"), False),
    ],
)
def test_of_several_servers_each_has_to_refuse_for_good(attempts, is_wrong):
    # As the driver puts them together.
    listed = "\n".join(f"- host: 'db', port: '1': {each}" for each in attempts)
    text = f"{attempts[-1]}\nMultiple connection attempts failed. All failures were:\n{listed}"

    assert (advice_on(psycopg.OperationalError(text)) is not None) is is_wrong
