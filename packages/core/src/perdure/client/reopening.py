"""Beginning another execution of an instance with a part of an earlier one's history.

A lost answer is recognised: the instance's last commit is the id of the reopening until its first
turn, and the first event of the new execution tells from where, why and when it was asked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from perdure.client import calls
from perdure.client.histories import read_first_event
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import (
    ExecutionNotFound,
    HistoryConflict,
    InvalidInput,
)
from perdure.history import CopiedFrom, Event, OrchestrationStarted
from perdure.model.message_ids import restart_id
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.model.wire import HistoryCopy, StartData, encode_start
from perdure.records.cuts import cuts, has_begun, nearest_cuts
from perdure.records.engines import engine_of_start
from perdure.records.instances import InstanceState, Message, MessageKind
from perdure.records.recovery import InstanceReopening


@record
class Rewind:
    """What a caller asked for, checked."""

    execution: int
    """The execution whose history is kept."""
    to_event: int
    reason: str
    version: str | None
    newest_version: bool


def check_begun(instance: str, execution: int, events: Sequence[Event]) -> None:
    """Raise `InvalidInput` if the execution has no history that could be kept."""
    if has_begun(events):
        return
    if events:
        instead = "name an earlier one" if execution > 1 else "start it again"
        raise InvalidInput(
            f"execution {execution} of instance {instance!r} ended before its first turn; {instead}"
        )
    raise InvalidInput(
        f"execution {execution} of instance {instance!r} has no event yet; wait for its first turn"
    )


def check_cut(instance: str, execution: int, events: Sequence[Event], to_event: int) -> None:
    """Raise `InvalidInput`, which names the nearest ones, unless the history can be cut there."""
    check_begun(instance, execution, events)
    if to_event in cuts(events):
        return
    nearest = " or ".join(map(str, nearest_cuts(events, to_event)))
    raise InvalidInput(
        f"to_event {shown(to_event)} of execution {execution} of instance {instance!r} is neither an"
        f" incoming event nor the end of a turn; pass {nearest}"
    )


async def reopen(provider: Provider, state: InstanceState, rewind: Rewind) -> int:
    """Begin the next execution, and return its number.

    Raises `HistoryConflict` if another execution has begun meanwhile, and `InstanceNotFound`.
    """
    requested_at = provider.clock.now()
    data = StartData(
        copy=HistoryCopy(
            instance=state.instance,
            incarnation=state.incarnation,
            execution=rewind.execution,
            to_event=rewind.to_event,
        ),
        reason=rewind.reason,
        requested_at=requested_at,
    )
    execution = state.execution + 1
    reopening = InstanceReopening(
        id=uuid.uuid4().hex,
        instance=state.instance,
        incarnation=state.incarnation,
        execution=state.execution,
        start=Message(
            id=restart_id(state.incarnation, execution),
            instance=state.instance,
            incarnation=state.incarnation,
            execution=execution,
            kind=MessageKind.START,
            data=encode_start(data),
        ),
        version=rewind.version,
        unpin=rewind.newest_version,
        engine=max(state.engine, engine_of_start(data)),
    )
    try:
        await with_retries(provider.clock, lambda: provider.reopen_instance(reopening))
    except HistoryConflict:
        if not await _took_effect(provider, reopening, rewind, requested_at):
            raise
    provider.notifier.notify_instance(state.instance)
    provider.notifier.notify_turns(state.instance)
    return execution


async def _took_effect(
    provider: Provider, reopening: InstanceReopening, rewind: Rewind, requested_at: int
) -> bool:
    """Whether it is this reopening that began the next execution, and its answer was lost."""
    state = await calls.read(provider, reopening.instance)
    execution = reopening.execution + 1
    if state is None or state.incarnation != reopening.incarnation or state.execution < execution:
        return False
    if state.last_commit == reopening.id:
        return True
    try:
        first = await read_first_event(
            provider, reopening.instance, execution, incarnation=reopening.incarnation
        )
    except ExecutionNotFound:  # pruned since
        return False
    return isinstance(first, OrchestrationStarted) and first.copied_from == CopiedFrom(
        instance=reopening.instance,
        incarnation=reopening.incarnation,
        execution=rewind.execution,
        event=rewind.to_event,
        reason=rewind.reason,
        requested_at=requested_at,
    )
