"""What follows a confirmed commit outside of the store: work begins, waiters wake, observers hear."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perdure.clock import Instant
from perdure.contract.notifier import Notifier
from perdure.diagnostics.logs import orchestration_logger, tell, trace_text
from perdure.history import OrchestrationFailed
from perdure.model.details import Cancelled
from perdure.observe import DetachedStartRefused, EventRefused, ExecutionEnded, TurnCommitted
from perdure.records.activities import LeasedActivity
from perdure.records.turns import CommitAnswer, TurnCommit
from perdure.replay.turn import TurnDraft
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.runtime")
_MOST_NAMED = 10


def direct_activities(
    commit: TurnCommit,
    draft: TurnDraft,
    direct: Sequence[int],
    answer: CommitAnswer,
    now: Instant,
) -> list[LeasedActivity]:
    """The activities that the commit added already leased, as if they had been fetched."""
    leased: list[LeasedActivity] = []
    for number in direct:
        added = draft.activities[number]
        leased.append(
            LeasedActivity(
                instance=commit.instance,
                incarnation=commit.incarnation,
                execution=commit.execution,
                id=added.id,
                name=added.name,
                tag=added.tag,
                data=added.data,
                token=commit.activity_token or "",
                until=answer.activities_until or now,
                delivery=1,
                added_at=now,
            )
        )
    return leased


def notify(notifier: Notifier, commit: TurnCommit, direct: int) -> None:
    """Wake whoever waits in this process for what the commit brought about."""
    if commit.end is not None:
        notifier.notify_instance(commit.instance)
    if len(commit.add) > direct:
        notifier.notify_activities()
    for message in commit.send:
        if message.instance != commit.instance:
            notifier.notify_turns(message.instance)
    if commit.create:
        notifier.notify_turns()


def report(
    observers: Observers,
    commit: TurnCommit,
    draft: TurnDraft,
    answer: CommitAnswer,
    *,
    orchestration: str,
    version: str,
    at: Instant,
) -> None:
    """Log what ended and what went unanswered, and tell the observers."""
    _tell_end(commit, draft, orchestration=orchestration, version=version)
    refused = [
        new.instance.instance for new in draft.detached if new.instance.instance in answer.in_use
    ]
    for instance in refused:
        fields = {"perdure_instance": commit.instance, "perdure_detached": instance}
        message = "instance %r did not start %r: the id is in use"
        tell(_LOGGER, logging.WARNING, message, commit.instance, instance, fields=fields)
    for unfit in draft.unfit:
        fields = {"perdure_instance": commit.instance, "perdure_event": unfit.name}
        message = "instance %r waits on: event %r, raised with the id %r, does not fit its wait: %s"
        words = (commit.instance, unfit.name, unfit.event_id, unfit.reason)
        tell(_LOGGER, logging.WARNING, message, *words, fields=fields)
    if not observers:
        return
    for unfit in draft.unfit:
        observers.tell(
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
        observers.tell(DetachedStartRefused(at=at, instance=commit.instance, detached=instance))
    observers.tell(
        TurnCommitted(
            at=at,
            instance=commit.instance,
            execution=commit.execution,
            orchestration=orchestration,
            version=version,
            events=len(commit.events),
        )
    )
    if draft.end is not None:
        observers.tell(
            ExecutionEnded(
                at=at,
                instance=commit.instance,
                execution=commit.execution,
                orchestration=orchestration,
                status=draft.end.status,
            )
        )


def _tell_end(commit: TurnCommit, draft: TurnDraft, *, orchestration: str, version: str) -> None:
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
        tell(
            orchestration_logger(orchestration),
            logging.WARNING,
            "instance %r ended while %s was under way, which nothing had awaited: it is dropped;"
            " await it, or cancel it",
            commit.instance,
            _listed(draft.unawaited),
            fields=fields,
        )
    if draft.dropped:
        tell(
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
    tell(_LOGGER, level, message, commit.instance, orchestration, *args, fields=fields)


def _listed(unawaited: Sequence[str]) -> str:
    named, more = ", ".join(unawaited[:_MOST_NAMED]), len(unawaited) - _MOST_NAMED
    return named if more <= 0 else f"{named} and {more} more"
