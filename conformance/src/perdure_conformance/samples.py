"""Records for checks, with defaults for the fields that a check does not care about."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypedDict, Unpack

from perdure.clock import Instant
from perdure.contract import (
    ActivityLease,
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    LeasedTurn,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    NewInstance,
    ParentLink,
    Serves,
    TurnCommit,
)

SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
"""How long the checks' leases last, unless a check says otherwise."""

SERVES = Serves(orchestrations={"flow": frozenset({"1.0.0", "2.0.0"})})
"""What the checks' callers can run, unless a check says otherwise."""

WORK = frozenset({"work"})
"""The names of the activities that the checks' workers serve."""

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
FAILED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"why")
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")
"""The ways in which a commit ends an execution."""


def incarnation_of(instance: str) -> str:
    """The incarnation that `new_instance` gives to an id."""
    return f"{instance[:64]}@1"


def new_instance(
    instance: str = "alpha",
    *,
    incarnation: str | None = None,
    name: str = "flow",
    version: str | None = None,
    engine: int = 1,
    parent: ParentLink | None = None,
    labels: Mapping[str, str] | None = None,
    data: bytes = b"start",
) -> NewInstance:
    """An instance to create, with its start message."""
    incarnation = incarnation or incarnation_of(instance)
    return NewInstance(
        instance=instance,
        incarnation=incarnation,
        name=name,
        version=version,
        engine=engine,
        parent=parent,
        labels=labels or {},
        start=Message(
            id="start",
            instance=instance,
            kind=MessageKind.START,
            data=data,
            incarnation=incarnation,
            execution=1,
        ),
    )


def event(
    id: str, instance: str = "alpha", *, data: bytes = b"", visible_at: Instant | None = None
) -> Message:
    """An external event."""
    return Message(
        id=id, instance=instance, kind=MessageKind.EVENT, data=data, visible_at=visible_at
    )


def result(
    id: str,
    instance: str = "alpha",
    *,
    kind: MessageKind = MessageKind.ACTIVITY,
    incarnation: str | None = None,
    execution: int | None = 1,
    data: bytes = b"",
    visible_at: Instant | None = None,
) -> Message:
    """A message that addresses one incarnation, and usually one execution."""
    return Message(
        id=id,
        instance=instance,
        kind=kind,
        data=data,
        incarnation=incarnation or incarnation_of(instance),
        execution=execution,
        visible_at=visible_at,
    )


def timer(id: str, visible_at: Instant, instance: str = "alpha", *, execution: int = 1) -> Message:
    """A durable timer."""
    return result(id, instance, kind=MessageKind.TIMER, execution=execution, visible_at=visible_at)


def restart(execution: int, instance: str = "alpha") -> Message:
    """The start message of a later execution."""
    return result(
        f"start-{execution}", instance, kind=MessageKind.START, execution=execution, data=b"again"
    )


def reopening(
    execution: int = 1,
    instance: str = "alpha",
    *,
    id: str | None = None,
    incarnation: str | None = None,
    version: str | None = None,
    unpin: bool = False,
    engine: int | None = None,
) -> InstanceReopening:
    """A reopening of an instance whose current execution has this number."""
    start = restart(execution + 1, instance)
    incarnation = incarnation or incarnation_of(instance)
    return InstanceReopening(
        id=id or f"reopening-{execution}",
        instance=instance,
        incarnation=incarnation,
        execution=execution,
        start=replace(start, incarnation=incarnation),
        version=version,
        unpin=unpin,
        engine=engine,
    )


def termination(
    instance: str = "alpha",
    *,
    id: str = "termination",
    incarnation: str | None = None,
    send: tuple[Message, ...] = (),
) -> InstanceTermination:
    """A termination that appends one event."""
    return InstanceTermination(
        id=id,
        instance=instance,
        incarnation=incarnation or incarnation_of(instance),
        events=(b"terminated",),
        output=b"why",
        send=send,
    )


def work(
    id: str,
    *,
    name: str = "work",
    data: bytes = b"",
    tag: str | None = None,
    visible_at: Instant | None = None,
    lease: bool = False,
) -> NewActivity:
    """An activity to add."""
    return NewActivity(id=id, name=name, data=data, tag=tag, visible_at=visible_at, lease=lease)


def ids(messages: Iterable[Message]) -> list[str]:
    """The ids of messages, in order."""
    return [message.id for message in messages]


def delivered(turn: LeasedTurn) -> list[str]:
    """The ids of the messages of a turn, in order."""
    return ids(turn.messages)


class CommitFields(TypedDict, total=False):
    """The fields of a commit that a check may set."""

    id: str
    incarnation: str
    token: str
    execution: int
    expected_event: int
    events: tuple[bytes, ...]
    remove: tuple[str, ...]
    finish: tuple[ActivityLease, ...]
    cancel: tuple[str, ...]
    add: tuple[NewActivity, ...]
    activity_token: str
    activity_lease_for: timedelta
    send: tuple[Message, ...]
    front: tuple[Message, ...]
    create: tuple[NewChild, ...]
    end: ExecutionEnd | None
    version: str
    unpin: bool
    engine: int
    keep_for: timedelta
    held: frozenset[str]
    custom_status: bytes
    values: Mapping[str, bytes | None]


def commit_of(turn: LeasedTurn, **fields: Unpack[CommitFields]) -> TurnCommit:
    """A commit of this turn. By default it removes the delivered messages."""
    state = turn.state
    commit = TurnCommit(
        id=f"commit-{uuid.uuid4().hex}",
        instance=state.instance,
        incarnation=state.incarnation,
        token=turn.token,
        execution=state.execution,
        expected_event=state.last_event,
        remove=tuple(message.id for message in turn.messages),
    )
    return replace(commit, **fields)
