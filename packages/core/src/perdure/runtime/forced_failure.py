"""Ends an instance without its code: it is poisoned, unregistered for too long, or parked and cancelled.

Its work is void with it, its children are cancelled, its parent is told. Cleanup that the code
would have done is not done, so a cancellation ends an instance like this only if it was parked
before, for the reason that stands in its way now.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.errors import StorageCorrupt
from perdure.history import Event, OrchestrationStarted
from perdure.model.details import ErrorDetails
from perdure.model.wire import HistoryCopy, StartData, decode_start
from perdure.records.instances import InstanceState, Message, MessageKind
from perdure.replay.copying import copied_history
from perdure.replay.forced_failure import fail_without_code
from perdure.replay.signals import UndecodableData
from perdure.runtime.after_commit import TurnTimes, follow
from perdure.runtime.commits import make_commit
from perdure.runtime.copies import SourceGone, read_copied
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.histories import read_readable_history
from perdure.runtime.turn_services import TurnServices


async def end_without_code(
    services: TurnServices,
    held: HeldInstance,
    messages: Sequence[Message],
    details: ErrorDetails,
) -> None:
    """Commit the end as Failed, and do what follows. Raises `ProviderError`.

    `messages` are those of the mailbox that this runtime has seen.
    """
    provider = services.provider
    state, start = held.state_now, _start_of(messages)
    if start is not None and start.copy is not None and state.last_event == 0:
        events = await _copied(services, state, start, start.copy)
    else:
        events = await read_readable_history(provider, state)
    now = provider.clock.now()
    draft = fail_without_code(state, events, start, details, now)
    commit = make_commit(
        draft,
        held=held,
        commit_id=next(services.commit_ids),
        consumed=[message.id for message in messages],
        options=services.options,
    )
    began = perf_counter()
    answer = await with_retries(
        provider.clock, lambda: provider.commit_turn(commit), tries=PATIENT_TRIES
    )
    times = TurnTimes(0.0, perf_counter() - began)
    services.executions.forget(state.instance)
    first = next(iter([*events, *draft.events]), None)
    started = first if isinstance(first, OrchestrationStarted) else None
    follow(services, held, commit, draft, answer, started=started, times=times)


async def _copied(
    services: TurnServices, state: InstanceState, start: StartData, copy: HistoryCopy
) -> list[Event]:
    """The history with which it was to begin, so that it can be tried again; empty if it is gone."""
    try:
        source = await read_copied(services.provider, state.instance, copy)
        return copied_history(source, state, state.execution, state.version or "", start, copy)
    except (SourceGone, StorageCorrupt, UndecodableData):
        return []


def _start_of(messages: Sequence[Message]) -> StartData | None:
    for message in messages:
        if message.kind is MessageKind.START:
            try:
                return decode_start(message.data)
            except ValueError:
                return None
    return None
