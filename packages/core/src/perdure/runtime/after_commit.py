"""After a commit: note it, begin and cancel activities, wake waiters, log, notify observers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from perdure.contract.notifier import Notifier
from perdure.diagnostics.logs import log_line, orchestration_logger, trace_text
from perdure.history import OrchestrationFailed, OrchestrationStarted
from perdure.model.details import Cancelled
from perdure.observe import (
    DetachedStartRefused,
    EventRefused,
    ExecutionEnded,
    TurnCommitted,
)
from perdure.records.turns import CommitAnswer, TurnCommit
from perdure.replay.turn import DraftActivity, TurnDraft
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.turn_services import TurnServices

_LOGGER = logging.getLogger("perdure.runtime")
_MOST_NAMED = 10
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class TurnTimes(NamedTuple):
    """How long a turn took, in seconds of real time."""

    turn: float
    """The engine and the orchestration's code."""
    commit: float
    """The storage."""


def follow(
    services: TurnServices,
    held: HeldInstance,
    commit: TurnCommit,
    draft: TurnDraft,
    answer: CommitAnswer,
    direct: Sequence[DraftActivity] = (),
    *,
    started: OrchestrationStarted | None,
    times: TurnTimes,
) -> None:
    """Do what a confirmed commit asks for outside of the store.

    `direct`: the activities that it has added leased, to begin here at once; `started`: the first
    event of the execution, None if it ended before its first turn; `times`: how long the turn took.
    """
    activities = services.activities
    services.note_commit(commit)
    held.committed(commit, answer.lease_until)
    if direct:
        activities.start_direct(commit, direct, answer)
    if draft.ending_activities:
        activities.cancellation.request_end(commit.instance, draft.ending_activities)
    if draft.cancelled_activities:
        activities.cancellation.cancel(commit.instance, draft.cancelled_activities)
    if draft.end is not None:
        activities.cancellation.cancel(commit.instance)
    _notify(services.provider.notifier, commit, len(direct))
    if draft.end is not None or draft.detached or draft.unfit or services.observers.any:
        _report(services, held, commit, draft, answer, started, times)


def _notify(notifier: Notifier, commit: TurnCommit, direct: int) -> None:
    """Wake waiters in this process. `direct`: how many activities of the commit begin here at once."""
    if commit.end is not None or commit.custom_status is not None or commit.values:
        notifier.notify_instance(commit.instance)
    if len(commit.add) > direct:
        notifier.notify_activities()
    for message in commit.send:
        if message.instance != commit.instance:
            notifier.notify_turns(message.instance)
    if commit.create:
        notifier.notify_turns()


def _report(
    services: TurnServices,
    held: HeldInstance,
    commit: TurnCommit,
    draft: TurnDraft,
    answer: CommitAnswer,
    started: OrchestrationStarted | None,
    times: TurnTimes,
) -> None:
    """Log what ended and what went unanswered, and notify the observers."""
    orchestration, version = held.state.name, held.version or ""
    observers, at = services.observers, services.provider.clock.now()
    _log_end(commit, draft, orchestration=orchestration, version=version)
    refused = [
        new.instance.instance for new in draft.detached if new.instance.instance in answer.in_use
    ]
    for instance in refused:
        fields = {"perdure_instance": commit.instance, "perdure_detached": instance}
        message = "instance %r did not start %r: the id is in use"
        log_line(_LOGGER, logging.WARNING, message, commit.instance, instance, fields=fields)
    for unfit in draft.unfit:
        fields = {"perdure_instance": commit.instance, "perdure_event": unfit.name}
        message = "instance %r waits on: event %r, raised with the id %r, does not fit its wait: %s"
        words = (commit.instance, unfit.name, unfit.event_id, unfit.reason)
        log_line(_LOGGER, logging.WARNING, message, *words, fields=fields)
    if not observers.any:
        return
    for unfit in draft.unfit:
        observers.notify(
            EventRefused(
                at=at,
                instance=commit.instance,
                execution=commit.execution,
                orchestration=orchestration,
                version=version,
                name=unfit.name,
                event_id=unfit.event_id,
                reason=unfit.reason,
            )
        )
    for instance in refused:
        observers.notify(DetachedStartRefused(at=at, instance=commit.instance, detached=instance))
    observers.notify(
        TurnCommitted(
            at=at,
            instance=commit.instance,
            execution=commit.execution,
            orchestration=orchestration,
            version=version,
            events=len(commit.events),
            turn_time=timedelta(seconds=times.turn),
            commit_time=timedelta(seconds=times.commit),
        )
    )
    if draft.end is not None:
        last = draft.events[-1] if draft.events else None
        observers.notify(
            ExecutionEnded(
                at=at,
                instance=commit.instance,
                execution=commit.execution,
                orchestration=orchestration,
                status=draft.end.status,
                incarnation=commit.incarnation,
                version=version,
                started_at=None if started is None else started.at,
                failure=last.details if isinstance(last, OrchestrationFailed) else None,
                parent=held.state.parent,
                copied_from=None if started is None else started.copied_from,
                headers=(None if started is None else started.headers) or _NO_HEADERS,
            )
        )


def _log_end(commit: TurnCommit, draft: TurnDraft, *, orchestration: str, version: str) -> None:
    """Log why an instance failed, and what its end dropped that nothing had awaited."""
    if draft.end is None:
        return
    fields = {
        "perdure_instance": commit.instance,
        "perdure_execution": commit.execution,
        "perdure_orchestration": orchestration,
        "perdure_version": version,
    }
    if draft.unawaited:
        log_line(
            orchestration_logger(orchestration),
            logging.WARNING,
            "instance %r ended while %s was under way, which nothing had awaited: it is dropped;"
            " await it, or cancel it",
            commit.instance,
            _listed(draft.unawaited),
            fields=fields,
        )
    if draft.dropped:
        log_line(
            orchestration_logger(orchestration),
            logging.WARNING,
            'instance %r ended while %s was under way with cancellation="wait": it is cancelled'
            " and its outcome dropped; await it, also where another part fails first",
            commit.instance,
            _listed(draft.dropped),
            fields=fields,
        )
    last = draft.events[-1]
    if not isinstance(last, OrchestrationFailed):
        return
    kind = last.details.kind
    if isinstance(kind, Cancelled):
        message = "instance %r of orchestration %r was cancelled: %s"
        level, args = logging.INFO, (kind.reason,)
    else:
        message = "instance %r of orchestration %r failed: %s%s"
        level = logging.ERROR
        args = (last.details.display_message(), trace_text(last.details))
    log_line(_LOGGER, level, message, commit.instance, orchestration, *args, fields=fields)


def _listed(unawaited: Sequence[str]) -> str:
    named, more = ", ".join(unawaited[:_MOST_NAMED]), len(unawaited) - _MOST_NAMED
    return named if more <= 0 else f"{named} and {more} more"
