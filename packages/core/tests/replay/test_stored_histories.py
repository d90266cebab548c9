"""Histories that earlier releases wrote: today's code rebuilds them, whole and at every turn.

`stored/0.1.0.json` has what the vocabulary and 60 random programs wrote under release 0.1.0, and
how long each history was after each of its turns. Python 3.11 wrote them. Random programs race
timeouts against results, which ends otherwise on another minor version: there the vocabulary alone
is rebuilt.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from perdure import OrchestrationContext, Registry
from perdure.authoring.catalog import Catalog
from perdure.history import Event, decode_event
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.turn import TurnDraft

from .random_programs import Interpreter, Node
from .vocabulary import words

STORED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "stored" / "0.1.0.json").read_text(encoding="utf-8")
)


class Interpreter010(Interpreter):
    """Interprets random programs as the tests of 0.1.0 did."""

    async def run(self) -> list[str]:
        try:
            await self.node(self._trees[0])
        except Exception as error:  # noqa: BLE001 # a random program may raise anything
            self._note(f"raised {type(error).__name__}")
        return self._trace

    async def _event(self, name: str) -> None:
        self._note(await self._ctx.schedule_wait(name))


programs = Registry()


@programs.orchestration
async def interpret(ctx: OrchestrationContext, trees: list[Node]) -> list[str]:
    return await Interpreter010(ctx, trees).run()


CATALOG = Catalog([words, programs])


def rebuild(events: list[Event], cleanup_timeout: float) -> Execution:
    definition = CATALOG.orchestration(events[0].name, None)
    return Execution.rebuild(
        events, definition, CATALOG, cleanup_timeout=timedelta(seconds=cleanup_timeout)
    )


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(one, id=one["program"])
        for one in STORED
        if PYTHON == "3.11" or not one["program"].startswith("random")
    ],
)
def test_a_stored_history_is_rebuilt_at_every_turn_and_asks_for_nothing_new(stored) -> None:
    for execution in stored["executions"]:
        events = [
            decode_event(number, json.dumps(event).encode())
            for number, event in enumerate(execution["events"], 1)
        ]
        for length in execution["turns"]:
            rebuilt = rebuild(events[:length], stored["cleanup_timeout"])
            assert rebuilt.take_turn() == TurnDraft()
            assert rebuilt.last_event == length
            assert not rebuilt.differences
            rebuilt.discard()
        assert rebuilt.terminal == events[-1]
