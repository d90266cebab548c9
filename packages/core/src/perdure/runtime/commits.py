"""Makes the commit of a turn out of what the engine drafted and what the runtime knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from perdure.history import encode_event
from perdure.records.instances import InstanceState
from perdure.records.turns import TurnCommit
from perdure.replay.turn import TurnDraft
from perdure.runtime.activities import Activities, FinishedActivity
from perdure.runtime.options import RuntimeOptions


@dataclass(slots=True, kw_only=True)
class Position:
    """Where an instance stands after the last commit that was confirmed."""

    execution: int
    last_event: int
    last_commit: str | None
    version: str | None

    @classmethod
    def of(cls, state: InstanceState) -> Position:
        """As it was leased."""
        return cls(
            execution=state.execution,
            last_event=state.last_event,
            last_commit=state.last_commit,
            version=state.version,
        )


def make_commit(
    draft: TurnDraft,
    *,
    state: InstanceState,
    position: Position,
    commit_id: str,
    token: str,
    version: str | None,
    consumed: Sequence[str],
    finished: Sequence[FinishedActivity],
    direct: Collection[int],
    held: Collection[str],
    keep_for: timedelta | None,
    options: RuntimeOptions,
) -> TurnCommit:
    """The commit; `commit_id` is its token for the activities too; `direct` are the schedule events of activities that it adds already leased."""
    return TurnCommit(
        id=commit_id,
        instance=state.instance,
        incarnation=state.incarnation,
        token=token,
        execution=position.execution,
        expected_event=position.last_event,
        events=tuple(encode_event(event) for event in draft.events),
        remove=(*consumed, *draft.removed),
        finish=tuple(one.lease for one in finished),
        cancel=tuple(draft.cancelled_activities),
        add=tuple(
            replace(activity, lease=True) if number in direct else activity
            for number, activity in draft.activities.items()
        ),
        activity_token=commit_id if direct else None,
        activity_lease_for=options.activity_lease if direct else None,
        send=(*draft.timers.values(), *draft.sent),
        front=tuple(draft.front),
        create=(*draft.children.values(), *draft.detached),
        end=draft.end,
        version=version,
        unpin=draft.unpin,
        keep_for=keep_for,
        held=frozenset(held),
    )


def choose_direct(draft: TurnDraft, activities: Activities) -> list[int]:
    """The schedule events of activities that this process can begin at once, in their order."""
    if not draft.activities or draft.end is not None:
        return []
    own = [
        number
        for number, activity in draft.activities.items()
        if activity.visible_at is None and activities.serves(activity.name, activity.tag)
    ]
    granted = activities.reserve([draft.activities[number].name for number in own])
    return [number for number, has_slot in zip(own, granted, strict=True) if has_slot]
