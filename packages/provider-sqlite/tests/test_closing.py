"""The end of a provider: what was begun is answered, what waits fails, nothing hangs."""

import asyncio
import os
import threading
from datetime import timedelta

import pytest
from perdure.contract import ChangeWait, Serves, WorkWait
from perdure.errors import StorageFailed
from perdure_sqlite import SQLiteOptions, SQLiteProvider

HOUR = timedelta(hours=1)


@pytest.fixture
def options(tmp_path):
    return SQLiteOptions(path=tmp_path / "x.db")


async def test_calls_that_were_made_before_the_close_are_answered(options, make):
    async with SQLiteProvider(options) as provider:
        call = asyncio.ensure_future(provider.create_instance(make.new("a")))
        await asyncio.sleep(0)
    await call

    async with SQLiteProvider(options) as provider:
        assert await provider.read_instance("a") is not None


async def test_a_call_that_is_cancelled_by_the_close_leaves_the_file_usable(options, make):
    async with SQLiteProvider(options) as provider:
        call = asyncio.ensure_future(provider.create_instance(make.new("a")))
        await asyncio.sleep(0)
        call.cancel()
    assert call.cancelled()

    async with SQLiteProvider(options) as provider:
        await provider.create_instance(make.new("a", incarnation="two"))


async def test_waiting_calls_fail_with_a_clear_error(options):
    async with SQLiteProvider(options) as provider:
        serves = Serves(orchestrations={"n": frozenset()})
        calls = [
            asyncio.ensure_future(provider.wait_for_work(WorkWait(timeout=HOUR, serves=serves))),
            asyncio.ensure_future(
                provider.wait_for_change(ChangeWait(instance="a", timeout=HOUR, exists=False))
            ),
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    for call in calls:
        with pytest.raises(StorageFailed, match="was closed while this call waited"):
            await call


async def test_a_closed_provider_says_so(options, make):
    async with SQLiteProvider(options) as provider:
        pass

    for call in (
        provider.create_instance(make.new("a")),
        provider.read_instance("a"),
        provider.lease_turns(make.request()),
        provider.wait_for_work(WorkWait(timeout=HOUR)),
    ):
        with pytest.raises(StorageFailed, match="not open"):
            await call


async def test_a_closed_provider_can_be_opened_again(options, make):
    provider = SQLiteProvider(options)
    async with provider:
        await provider.create_instance(make.new("a"))

    async with provider:
        assert await provider.read_instance("a") is not None


async def test_no_thread_is_left(options, make):
    before = threading.active_count()

    async with SQLiteProvider(options) as provider:
        await provider.create_instance(make.new("a"))
        await provider.as_management_capability().count_instances()

    assert threading.active_count() == before


async def test_a_failed_open_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())

    with pytest.raises(StorageFailed):
        async with SQLiteProvider(SQLiteOptions(path=tmp_path / "none" / "x.db")):
            pass

    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


async def test_a_close_while_another_program_holds_the_lock_does_not_wait_for_it(desk, make):
    async with SQLiteProvider(SQLiteOptions(path=desk.path, busy_timeout=3600)) as provider:
        desk.raw().execute("BEGIN IMMEDIATE")
        call = asyncio.ensure_future(provider.create_instance(make.new("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert call.done()
    assert call.exception().retryable


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_provider_refuses_use_after_a_fork(tmp_path, in_a_process):
    program = """
import asyncio, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from perdure_sqlite import SQLiteOptions, SQLiteProvider
async def main():
    async with SQLiteProvider(SQLiteOptions(path="x.db")) as provider:
        child = os.fork()
        if child == 0:
            try:
                await provider.read_instance("a")
            except Exception as error:
                os.write(1, f"{type(error).__name__} {error}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert await provider.read_instance("a") is None
asyncio.run(main())
"""
    shown, _ = in_a_process(program).communicate(timeout=60)

    assert shown.startswith("StorageClosed")
    assert "forked" in shown
