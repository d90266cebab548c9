"""Makes the commit of a turn out of what the engine drafted and what the runtime knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from perdure.clock import Instant
from perdure.history import encode_event
from perdure.model.wire import encode_activity
from perdure.records.activities import ActivityLease, NewActivity
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.turns import LeasedTurn, TurnCommit, TurnLease
from perdure.replay.execution import Execution
from perdure.replay.turn import TurnDraft
from perdure.runtime.options import RuntimeOptions


@dataclass(slots=True, kw_only=True)
class HeldInstance:
    """An instance under a lease of this runtime, and where it stands after its last commit."""

    state: InstanceState
    """As it was leased; the fields below say what was committed since."""
    token: str
    until: Instant
    """The end of the lease."""
    execution: int
    last_event: int
    last_commit: str | None
    version: str | None

    @classmethod
    def of(cls, leased: LeasedTurn) -> HeldInstance:
        """As a lease call returned it."""
        state = leased.state
        return cls(
            state=state,
            token=leased.token,
            until=leased.until,
            execution=state.execution,
            last_event=state.last_event,
            last_commit=state.last_commit,
            version=state.version,
        )

    @property
    def instance(self) -> str:
        """Its id."""
        return self.state.instance

    @property
    def lease(self) -> TurnLease:
        """The lease by name."""
        return TurnLease(instance=self.state.instance, token=self.token)

    @property
    def state_now(self) -> InstanceState:
        """Its plain fields after its last commit, as far as a history or a commit needs them."""
        return replace(
            self.state,
            execution=self.execution,
            last_event=self.last_event,
            last_commit=self.last_commit,
            version=self.version,
        )

    def committed(self, commit: TurnCommit, until: Instant | None) -> None:
        """Note what a confirmed commit has changed."""
        self.last_event += len(commit.events)
        self.last_commit = commit.id
        self.version = commit.version or self.version
        if until is not None:
            self.until = until

    def next_execution(self, version: str | None) -> None:
        """The commit has ended the execution, and the next one begins."""
        self.execution += 1
        self.last_event = 0
        self.version = version


def version_to_pin(draft: TurnDraft, held: HeldInstance, execution: Execution | None) -> str | None:
    """The version to store: that of the next execution, or of this one at its first turn."""
    if draft.end is not None and draft.end.status is InstanceStatus.CONTINUED_AS_NEW:
        return draft.version
    if execution is not None and held.version != execution.definition.version:
        return execution.definition.version
    return None


def make_commit(
    draft: TurnDraft,
    *,
    held: HeldInstance,
    commit_id: str,
    version: str | None = None,
    consumed: Sequence[str] = (),
    finish: Iterable[ActivityLease] = (),
    in_hand: Collection[str] = (),
    keep_for: timedelta | None = None,
    options: RuntimeOptions,
) -> TurnCommit:
    """The commit. Its id is the token of the activities that it adds leased, too.

    `consumed` and `in_hand` are ids of messages: those that the turn has delivered, and those that
    the lease has and the turn has not.
    """
    add = tuple(
        NewActivity(
            id=activity.id,
            name=activity.name,
            data=encode_activity(activity.data),
            tag=activity.tag,
            lease=activity.is_direct,
        )
        for activity in draft.activities.values()
    )
    is_direct = any(activity.lease for activity in add)
    return TurnCommit(
        id=commit_id,
        instance=held.state.instance,
        incarnation=held.state.incarnation,
        token=held.token,
        execution=held.execution,
        expected_event=held.last_event,
        events=tuple(encode_event(event) for event in draft.events),
        remove=(*consumed, *draft.removed),
        finish=tuple(finish),
        cancel=tuple(draft.cancelled_activities),
        add=add,
        activity_token=commit_id if is_direct else None,
        activity_lease_for=options.activity_lease if is_direct else None,
        send=(*draft.timers.values(), *draft.sent),
        front=tuple(draft.front),
        create=(*draft.children.values(), *draft.detached),
        end=draft.end,
        version=version,
        unpin=draft.unpin,
        keep_for=keep_for,
        held=frozenset(in_hand),
    )
