"""The thread begins a call that must not wait while the event loop goes on with other work."""

import asyncio
import threading

import pytest
from perdure_sqlite import _worker_thread
from perdure_sqlite._worker_thread import WorkerThread


@pytest.fixture
async def thread():
    thread = WorkerThread("test")
    yield thread
    thread.stop()


async def answer_of(post, call):
    answered = asyncio.get_running_loop().create_future()
    post(call, answered.set_result)
    return await answered


async def test_the_loop_goes_on_once_the_call_has_begun(thread, monkeypatch):
    monkeypatch.setattr(_worker_thread, "_LONGEST_BEGIN", 60)
    order, gate = [], threading.Event()

    def earlier():
        gate.wait()
        order.append("earlier")

    thread.post(earlier, lambda error: None)
    threading.Thread(target=gate.set).start()
    thread.post_and_let_begin(lambda: None, lambda error: None)

    assert order == ["earlier"]


async def test_the_loop_goes_on_after_a_while_if_the_thread_is_busy(thread):
    gate = threading.Event()
    thread.post(gate.wait, lambda error: None)
    answered = asyncio.ensure_future(answer_of(thread.post_and_let_begin, lambda: None))
    await asyncio.sleep(0)

    gate.set()
    assert await answered is None


async def test_an_error_is_answered(thread):
    def fail():
        raise ValueError("no")

    assert isinstance(await answer_of(thread.post_and_let_begin, fail), ValueError)
