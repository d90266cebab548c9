"""What follows a confirmed commit outside of the store: work begins, waiters wake, observers hear."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perdure.clock import Instant
from perdure.contract.doorbell import Doorbell
from perdure.contract.records import CommitAnswer, LeasedActivity, TurnCommit
from perdure.observe import DetachedStartRefused, ExecutionEnded, TurnCommitted
from perdure.replay.turn import TurnDraft
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.runtime")


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


def ring(doorbell: Doorbell, commit: TurnCommit, direct: int) -> None:
    """Wake whoever waits in this process for what the commit brought about."""
    if commit.end is not None:
        doorbell.ring_instance(commit.instance)
    if len(commit.add) > direct:
        doorbell.ring_activities()
    for message in commit.send:
        if message.instance != commit.instance:
            doorbell.ring_turns(message.instance)
    if commit.create:
        doorbell.ring_turns()


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
    """Log what went unanswered, and tell the observers."""
    refused = [
        new.instance.instance for new in draft.detached if new.instance.instance in answer.in_use
    ]
    for instance in refused:
        _LOGGER.warning("instance %r did not start %r: the id is in use", commit.instance, instance)
    if not observers:
        return
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
