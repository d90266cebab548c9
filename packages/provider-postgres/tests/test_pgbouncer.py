"""A pooler in transaction mode stands between: every statement may run on another connection."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure.contract import ChangeWait, ProviderUrl
from perdure_conformance.samples import new_instance
from perdure_postgres import PostgresOptions

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROGRAM is None,
        reason="no PgBouncer to test with: install Debian's or Ubuntu's package pgbouncer",
    ),
]
SETTINGS = """
[databases]
postgres = host={host} port={port} pool_size=3
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listens}
unix_socket_dir =
auth_type = any
pool_mode = transaction
logfile = {directory}/log
"""

app = perdure.Registry()


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.orchestration
async def add_up(ctx: perdure.OrchestrationContext, count: int) -> int:
    calls = (ctx.schedule_activity(double, number) for number in range(count))
    return sum(await asyncio.gather(*calls))


@pytest.fixture
def pooled(url):
    """The URL of the same database through a pooler, and the address of the server itself."""
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    host, port = conninfo.get("host", "localhost"), conninfo.get("port", "5432")
    with socket.create_server(("127.0.0.1", 0)) as free:
        listens = free.getsockname()[1]
    # A folder of its own, since those of pytest are for the user that runs it alone.
    with tempfile.TemporaryDirectory(prefix="perdure-pooler-") as directory:
        text = SETTINGS.format(host=host, port=port, listens=listens, directory=directory)
        text = text.replace(
            "postgres =", f"postgres = user={conninfo['user']} dbname={conninfo['dbname']}"
        )
        settings = Path(directory, "pooler.ini")
        settings.write_text(text, "utf-8")
        words = [PROGRAM, "-q", str(settings)]
        if os.geteuid() == 0:
            # It refuses to run as root; the folder of the socket is its owner's alone.
            Path(directory).chmod(0o777)
            words[1:1] = ["-u", Path(host).owner() if host.startswith("/") else "daemon"]
        with running(words, listens):
            namespace = url.rpartition("=")[2]
            yield f"postgresql://any@127.0.0.1:{listens}/postgres?namespace={namespace}", host


@contextlib.contextmanager
def running(words, listens):
    """The pooler, from when it listens on."""
    with subprocess.Popen(words) as pooler:
        try:
            while True:
                assert pooler.poll() is None, "the pooler ended"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", listens)):
                    break
                time.sleep(0.01)
            yield
        finally:
            pooler.terminate()


async def test_a_runtime_works_through_a_pooler_in_transaction_mode(url, pooled):
    through, _ = pooled
    async with perdure.open_provider(url):
        pass  # makes the schema

    async with (
        perdure.open_provider(f"{through}&notify=false") as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        sums = [await client.start_orchestration(f"sum-{n}", add_up, 10) for n in range(10)]

        assert await asyncio.gather(*(each.result(timeout=30) for each in sums)) == [90] * 10


async def test_news_come_past_the_pooler_by_a_connection_of_their_own(url, pooled):
    through, host = pooled
    async with (
        perdure.open_provider(url) as there,
        perdure.open_provider(f"{through}&listen={host.replace('/', '%2F')}") as here,
    ):
        wait = ChangeWait(instance="order", timeout=timedelta(seconds=30), exists=False)
        waiting = asyncio.ensure_future(here.wait_for_change(wait))
        await asyncio.sleep(0.2)
        await there.create_instance(new_instance("order"))

        async with asyncio.timeout(10):
            await waiting
