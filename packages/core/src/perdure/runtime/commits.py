"""Makes the commit of a turn out of what the engine drafted and what the runtime knows."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from datetime import timedelta

from perdure.history import encode_event
from perdure.model.wire import encode_activity
from perdure.records.activities import ActivityLease, NewActivity
from perdure.records.instances import InstanceStatus
from perdure.records.turns import TurnCommit
from perdure.replay.execution import Execution
from perdure.replay.signals import UndecodableData
from perdure.replay.turn import DraftActivity, TurnDraft
from perdure.runtime.delivery import Delivery
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.turn_services import TurnServices


class EncodedDraft:
    """The parts of a large draft that take long to encode for its commit."""

    __slots__ = ("add", "events")

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.add: list[NewActivity] = []

    def encode(self, draft: TurnDraft) -> Generator[None]:
        """All of it in steps."""
        for event in draft.events:
            self.events.append(encode_event(event))
            yield
        for activity in draft.activities.values():
            self.add.append(_new_activity(activity))
            yield


def make_turn_commit(
    services: TurnServices,
    held: HeldInstance,
    delivery: Delivery,
    draft: TurnDraft,
    direct: Sequence[DraftActivity],
    *,
    undecodable: UndecodableData | None,
    may_keep: bool,
    encoded: EncodedDraft | None = None,
) -> TurnCommit:
    """The commit of a turn that has delivered what was in hand.

    `encoded`: of the draft, if it was encoded before; `direct`: the activities that it adds leased; `undecodable`: why a message was not delivered;
    `may_keep`: whether the lease may be kept after it.
    """
    keeps = may_keep and not services.is_stopping
    return make_commit(
        draft,
        held=held,
        commit_id=next(services.commit_ids),
        version=_version_to_pin(draft, held, delivery.execution),
        consumed=delivery.consumed,
        finish=[activity.lease for activity in delivery.taken],
        # Behind what goes to the front, the answer has everything again, in its order.
        in_hand=(
            ()
            if draft.end is not None or draft.front
            else [message.id for message in delivery.messages]
        ),
        keep_for=(
            services.options.turn_lease
            if keeps and _is_kept(services, held, delivery, draft, direct, undecodable)
            else None
        ),
        options=services.options,
        encoded=encoded,
    )


def _is_kept(
    services: TurnServices,
    held: HeldInstance,
    delivery: Delivery,
    draft: TurnDraft,
    direct: Sequence[DraftActivity],
    undecodable: UndecodableData | None,
) -> bool:
    """Whether to keep the lease: for what is in hand, or for work here that is about to end."""
    if draft.end is not None:
        return draft.end.status is InstanceStatus.CONTINUED_AS_NEW
    if undecodable is not None or delivery.has_work or delivery.more or draft.front:
        return True
    runner = services.activities.runner
    for activity in direct:
        if runner.expect_soon(activity.name):
            return True
    if runner.soon_done(held.instance):
        return True
    execution = delivery.execution
    return execution is not None and services.activities.expects_from_queue(execution)


def _version_to_pin(
    draft: TurnDraft, held: HeldInstance, execution: Execution | None
) -> str | None:
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
    encoded: EncodedDraft | None = None,
) -> TurnCommit:
    """The commit. Its id is the token of the activities that it adds leased, too.

    `consumed` and `in_hand` are ids of messages: those that the turn has delivered, and those that
    the lease has and the turn has not.
    """
    if encoded is None:
        events = tuple(map(encode_event, draft.events))
        add = [_new_activity(activity) for activity in draft.activities.values()]
    else:
        events, add = tuple(encoded.events), encoded.add
    is_direct = False
    for activity in add:
        if activity.lease:
            is_direct = True
            break
    # What most turns have nothing of is an empty tuple, which costs nothing to make.
    return TurnCommit(
        id=commit_id,
        instance=held.state.instance,
        incarnation=held.state.incarnation,
        token=held.token,
        execution=held.execution,
        expected_event=held.last_event,
        events=events,
        remove=(*consumed, *draft.removed),
        finish=tuple(finish),
        cancel=tuple(draft.cancelled_activities),
        add=tuple(add),
        activity_token=commit_id if is_direct else None,
        activity_lease_for=options.activity_lease if is_direct else None,
        send=(*draft.timers.values(), *draft.sent),
        front=tuple(draft.front),
        create=(*draft.children.values(), *draft.detached),
        end=draft.end,
        version=version,
        unpin=draft.unpin,
        engine=draft.engine,
        keep_for=keep_for,
        held=frozenset(in_hand) if in_hand else _NOTHING,
        custom_status=draft.custom_status,
        values=draft.values,
    )


_NOTHING: frozenset[str] = frozenset()


def _new_activity(activity: DraftActivity) -> NewActivity:
    return NewActivity(
        id=activity.id,
        name=activity.name,
        data=encode_activity(activity.data),
        tag=activity.tag,
        lease=activity.is_direct,
    )
