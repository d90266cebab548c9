"""Calls that come to their end, although their callers are cancelled."""

from __future__ import annotations

import asyncio

import pytest
from perdure.contract import to_its_end


class Call:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.began, self.ends = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> str:
        self.began.set()
        await self.ends.wait()
        return "result"


async def cancelled(caller: asyncio.Task[str], call: Call) -> None:
    """Cancel the caller twice in the middle of its call, and see that it still waits."""
    await call.began.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()


async def test_a_cancelled_caller_waits_for_its_call_and_hands_the_result_on() -> None:
    call, unheard = Call(), list[str]()
    caller = asyncio.ensure_future(to_its_end(call(), unheard=unheard.append))

    await cancelled(caller, call)
    call.ends.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert unheard == ["result"]


async def test_what_undoes_the_call_comes_to_its_end_too() -> None:
    call, undo = Call(), Call()
    caller = asyncio.ensure_future(to_its_end(call(), unheard=lambda _: undo()))

    await cancelled(caller, call)
    call.ends.set()
    await cancelled(caller, undo)
    undo.ends.set()

    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_an_error_of_what_undoes_the_call_is_raised() -> None:
    async def undo(_: str) -> None:
        raise ValueError("it stays")

    call = Call()
    caller = asyncio.ensure_future(to_its_end(call(), unheard=undo))

    await cancelled(caller, call)
    call.ends.set()

    with pytest.raises(ValueError, match="it stays"):
        await caller


async def test_a_call_that_failed_is_not_undone() -> None:
    began, ends, unheard = asyncio.Event(), asyncio.Event(), list[str]()

    async def failing() -> str:
        began.set()
        await ends.wait()
        raise ValueError("no room")

    caller = asyncio.ensure_future(to_its_end(failing(), unheard=unheard.append))
    await began.wait()
    caller.cancel()
    ends.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert unheard == []
