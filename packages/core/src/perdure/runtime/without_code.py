"""Ends an instance without its code: it is poisoned, unregistered for too long, or parked and cancelled.

Its work is void with it, its children are cancelled, its parent is told. Cleanup that the code
would have done is not done, so a cancellation ends an instance like this only where it was
parked before, for the reason that stands in its way now: whoever has fitting code had its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perdure.contract.retries import PATIENT_TRIES, repeated
from perdure.model.details import ApplicationFailure, Cancelled, ErrorDetails
from perdure.model.wire import StartData, decode_cancel, decode_start
from perdure.records.instances import InstanceState, Message, MessageKind
from perdure.replay.forced_failure import close_without_code
from perdure.runtime.after_commit import notify, report
from perdure.runtime.commits import Position, make_commit
from perdure.runtime.histories import read_readable_history
from perdure.runtime.stepping import run_outside_tasks

if TYPE_CHECKING:
    from perdure.runtime.turns import Turns

_UNREADABLE = "the request to cancel cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """An instance under a lease of this runtime."""

    state: InstanceState
    """As it was leased."""
    position: Position
    """What was committed since."""
    token: str
    messages: Sequence[Message]
    """Those of its mailbox that this runtime has seen."""


def parked_and_cancelled(
    state: InstanceState, reason: str, messages: Sequence[Message]
) -> ApplicationFailure | None:
    """How an instance ends that was parked for this reason already and is to be cancelled."""
    if state.parked is None or state.parked.reason != reason:
        return None
    for message in messages:
        if message.kind is MessageKind.CANCEL:
            return ApplicationFailure(Cancelled(reason=_cancel_reason(message)))
    return None


async def end_without_code(turns: Turns, held: HeldInstance, details: ErrorDetails) -> None:
    """Commit the end as Failed, and tell whoever has to know. Raises `ProviderError`."""
    position, provider = held.position, turns.provider
    state = replace(
        held.state,
        execution=position.execution,
        last_event=position.last_event,
        last_commit=position.last_commit,
        version=position.version,
    )
    events = await read_readable_history(provider, state)
    draft = close_without_code(
        state, events, _start_of(held.messages), details, provider.clock.now()
    )
    commit = make_commit(
        draft,
        state=state,
        position=position,
        token=held.token,
        commit_id=turns.new_id(),
        version=None,
        consumed=[message.id for message in held.messages],
        finished=(),
        direct=(),
        held=(),
        keep_for=None,
        options=turns.options,
    )
    answer = await repeated(
        provider.clock, lambda: provider.commit_turn(commit), tries=PATIENT_TRIES
    )
    turns.note_commit(commit)
    live = turns.cache.take(state.instance)
    if live is not None:
        await run_outside_tasks(live.execution.discard)
    turns.activities.cancel(state.instance)
    notify(provider.notifier, commit, 0)
    report(
        turns.observers,
        commit,
        draft,
        answer,
        orchestration=state.name,
        version=state.version or "",
        at=provider.clock.now(),
    )


def _start_of(messages: Sequence[Message]) -> StartData | None:
    for message in messages:
        if message.kind is MessageKind.START:
            try:
                return decode_start(message.data)
            except ValueError:
                return None
    return None


def _cancel_reason(message: Message) -> str:
    try:
        return decode_cancel(message.data).reason
    except ValueError:
        return _UNREADABLE
