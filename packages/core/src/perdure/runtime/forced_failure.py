"""Ends an instance without its code: it is poisoned, unregistered for too long, or parked and cancelled.

Its work is void with it, its children are cancelled, its parent is told. Cleanup that the code
would have done is not done, so a cancellation ends an instance like this only if it was parked
before, for the reason that stands in its way now.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.model.details import ErrorDetails
from perdure.model.wire import StartData, decode_start
from perdure.records.instances import Message, MessageKind
from perdure.replay.forced_failure import fail_without_code
from perdure.runtime.after_commit import follow
from perdure.runtime.commits import make_commit
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
    state = held.state_now
    events = await read_readable_history(provider, state)
    now = provider.clock.now()
    draft = fail_without_code(state, events, _start_of(messages), details, now)
    commit = make_commit(
        draft,
        held=held,
        commit_id=next(services.commit_ids),
        consumed=[message.id for message in messages],
        options=services.options,
    )
    answer = await with_retries(
        provider.clock, lambda: provider.commit_turn(commit), tries=PATIENT_TRIES
    )
    await services.executions.forget(state.instance)
    follow(services, held, commit, draft, answer)


def _start_of(messages: Sequence[Message]) -> StartData | None:
    for message in messages:
        if message.kind is MessageKind.START:
            try:
                return decode_start(message.data)
            except ValueError:
                return None
    return None
