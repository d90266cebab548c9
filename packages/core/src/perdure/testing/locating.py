"""Where the code of an instance stands, at the end of its history or at any event of it.

The history is replayed in this process, as a replay check does it: nothing runs, nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perdure.authoring.registry import Registry
from perdure.errors import InvalidInput
from perdure.history import INCOMING, TERMINAL, Event, OrchestrationStarted
from perdure.model.shown import shown
from perdure.replay.execution import Execution
from perdure.replay.positions import TaskPosition
from perdure.replay.signals import ForbiddenUse, HistoryMismatch, UndecodableData
from perdure.testing.replay_check import CLEANUP_TIMEOUT, catalog_of, outside_of_loops


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the code of an execution stands."""

    instance: str
    execution: int
    orchestration: str
    version: str
    event: int
    """The number of the last event that the code has answered to."""
    tasks: tuple[TaskPosition, ...]
    """The tasks that have not ended; empty if the execution has ended there."""
    has_ended: bool = False
    """Whether the execution has ended there."""
    disagreement: str = ""
    """Why the code could not be replayed up to there; `tasks` is then empty."""


def locate(
    events: Sequence[Event],
    app: Registry | Iterable[Registry],
    *,
    event: int | None = None,
) -> Location:
    """Replay the events of one execution, and tell where each task of the orchestration stands.

    With `event`, the code stands where it stood when it had answered to that event: the commands that
    it gave then are part of it. Without, it stands at the end.

    Raises `InvalidInput` if the orchestration is not registered, if there is no such event, or if
    the events are no history. The modules of `app` must have the code of the history's version.
    """
    catalog = catalog_of(app)
    started = events[0] if events else None
    if not isinstance(started, OrchestrationStarted):
        raise InvalidInput("the history does not begin with OrchestrationStarted; pass all of it")
    definition = catalog.orchestration(started.name, started.version)
    if definition is None:
        raise InvalidInput(
            f"orchestration {started.name!r} version {started.version} is not registered in the"
            " application; pass the one that has it"
        )
    kept = _up_to(events, event)
    has_ended = isinstance(kept[-1], TERMINAL)

    def replay() -> tuple[tuple[TaskPosition, ...], str]:
        try:
            execution = Execution.rebuild(
                kept, definition, catalog, cleanup_timeout=CLEANUP_TIMEOUT, compare="warn"
            )
        except (HistoryMismatch, ForbiddenUse, UndecodableData) as error:
            return (), str(error)
        found = () if execution.terminal is not None else execution.positions(kept)
        execution.discard()
        return found, ""

    tasks, disagreement = outside_of_loops(replay)
    return Location(
        instance=started.instance,
        execution=started.execution,
        orchestration=started.name,
        version=started.version,
        event=kept[-1].event_id,
        tasks=tasks,
        has_ended=has_ended,
        disagreement=disagreement,
    )


def _up_to(events: Sequence[Event], number: int | None) -> Sequence[Event]:
    """The events up to this one, and what the code asked for until it waited again."""
    if number is None:
        return events
    if not 1 <= number <= len(events):
        raise InvalidInput(f"event {shown(number)} does not exist; there are 1 to {len(events)}")
    end = number
    while end < len(events) and not isinstance(events[end], INCOMING):
        end += 1
    return events[:end]
