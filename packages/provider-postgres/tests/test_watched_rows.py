"""What is known of held rows, as the questions to the server come and go; no server is needed."""

import asyncio
import json
import warnings

from perdure_postgres import _held
from perdure_postgres._held import HeldRows


class Server:
    """Answers which rows are held."""

    def __init__(self, *held):
        self.held = set(held)
        self.asked = asyncio.Event()
        self.answers_for_a = asyncio.Event()
        self.answers_for_a.set()

    async def call(self, operation, function, items, *, repeatable):
        asked = set(json.loads(items))
        self.asked.set()
        if "a" in asked:
            await self.answers_for_a.wait()
        return [(sorted(self.held & asked),)]


async def test_a_row_that_is_found_held_during_a_question_is_not_taken_for_free(monkeypatch):
    monkeypatch.setattr(_held, "_FIRST_PAUSE", 0)
    server = Server("a", "b")
    rows = HeldRows(server, patience=30)
    await rows.look({"a"})
    server.asked.clear()
    server.answers_for_a.clear()
    await server.asked.wait()  # whether "a" is free by now
    await rows.look({"b"})
    server.held.remove("a")
    server.answers_for_a.set()
    while rows.among({"a"}):  # noqa: ASYNC110 # nothing tells of it
        await asyncio.sleep(0)

    assert rows.among({"b"})
    await rows.close()


async def test_a_call_for_later_is_dropped_at_the_close_without_a_warning():
    rows = HeldRows(Server(), patience=30)

    async def call():
        raise AssertionError("it is not made any more")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows.later("a", call)
        await rows.close()

    assert caught == []
