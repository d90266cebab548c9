"""From rows of the file to records of the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from perdure.contract import (
    ExecutionState,
    InstanceState,
    InstanceStatus,
    Instant,
    Message,
    MessageKind,
    ParentLink,
    ParkedState,
)

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._sql.instances import RUNNING

_KINDS = {kind.value: kind for kind in MessageKind}
_STATUSES = {status.value: status for status in InstanceStatus}


def status_of(instance: str, text: str) -> InstanceStatus:
    """The status of an instance or an execution; raises `DamagedRecord` for any other text."""
    status = _STATUSES.get(text)
    if status is None:
        raise DamagedRecord(instance, f"its status is {text!r}")
    return status


@dataclass(slots=True)
class InstanceRow:
    """The columns of an instance that operations work with; they change it and write it back."""

    number: int
    id: str
    incarnation: str
    name: str
    version: str | None
    engine: int
    status: str
    execution: int
    started_at: Instant
    last_event: int
    last_commit: str | None
    updated_at: Instant
    attempt: int
    lease_token: str | None
    held_until: Instant | None
    released_at: Instant
    bucket: int | None
    ready_at: Instant | None
    arrivals: int
    fronts: int
    first_execution: int

    def is_addressed_by(self, message: Message) -> bool:
        """Whether the message is for this incarnation and execution; if not, it is void."""
        return (
            self.status == RUNNING
            and (message.incarnation is None or message.incarnation == self.incarnation)
            and (message.execution is None or message.execution == self.execution)
        )


StateColumns: TypeAlias = tuple[
    str,
    str,
    str,
    str | None,
    int,
    int,
    int,
    str | None,
    str,
    int,
    int,
    str | None,
    str | None,
    int | None,
    str | None,
    str | None,
    int | None,
    int | None,
    str | None,
    int,
    int,
    bytes | None,
    bytes | None,
    str | None,
]


def state_of(columns: StateColumns) -> InstanceState:
    """The state of an instance, from `STATE_COLUMNS` and what follows there.

    Raises `DamagedRecord` if the instance has ended and its last execution is lost or disagrees.
    """
    (
        instance,
        incarnation,
        name,
        version,
        engine,
        execution,
        last_event,
        last_commit,
        status,
        created_at,
        updated_at,
        reason,
        details,
        since,
        parent_instance,
        parent_incarnation,
        parent_execution,
        parent_event,
        labels,
        custom_status_version,
        value_count,
        custom_status,
        output,
        ended_as,
    ) = columns
    if status != RUNNING and ended_as != status:
        status_of(instance, status)
        found = "lost" if ended_as is None else f"that of {ended_as!r}"
        raise DamagedRecord(
            instance, f"its status is {status!r}, and the end of execution {execution} is {found}"
        )
    return InstanceState(
        instance=instance,
        incarnation=incarnation,
        name=name,
        version=version,
        engine=engine,
        execution=execution,
        last_event=last_event,
        last_commit=last_commit,
        status=status_of(instance, status),
        output=output,
        created_at=created_at,
        updated_at=updated_at,
        parked=parked_of(reason, details, since),
        parent=_parent_of(parent_instance, parent_incarnation, parent_execution, parent_event),
        labels=labels_of(instance, labels),
        custom_status=custom_status,
        custom_status_version=custom_status_version,
        value_count=value_count,
    )


def labels_of(instance: str, text: str | None) -> Mapping[str, str]:
    """The labels of an instance, from its column."""
    if text is None:
        return {}
    try:
        labels: object = json.loads(text)
    except ValueError:
        labels = None
    if not isinstance(labels, dict):
        raise DamagedRecord(instance, f"its labels are {text!r}")
    return cast("dict[str, str]", labels)


def labels_text(labels: Mapping[str, str]) -> str | None:
    """The column for these labels."""
    return json.dumps(dict(labels), ensure_ascii=False) if labels else None


def parked_of(reason: str | None, details: str | None, since: Instant | None) -> ParkedState | None:
    """The parked state, or None."""
    if reason is None or details is None or since is None:
        return None
    return ParkedState(reason=reason, details=details, since=since)


def _parent_of(
    instance: str | None, incarnation: str | None, execution: int | None, event: int | None
) -> ParentLink | None:
    if instance is None or incarnation is None or execution is None or event is None:
        return None
    return ParentLink(instance=instance, incarnation=incarnation, execution=execution, event=event)


MessageColumns: TypeAlias = tuple[str, str, bytes, int, int | None, int | None]


def message_of(columns: MessageColumns, instance: str, incarnation: str) -> Message:
    """A message, from the columns of `VISIBLE_MESSAGES`."""
    message_id, kind, data, addressed, execution, visible_at = columns
    return Message(
        id=message_id,
        instance=instance,
        kind=kind_of(instance, message_id, kind),
        data=data,
        incarnation=incarnation if addressed else None,
        execution=execution,
        visible_at=visible_at,
    )


def kind_of(instance: str, message: str, text: str) -> MessageKind:
    """The kind of a message; raises `DamagedRecord` for any other text."""
    kind = _KINDS.get(text)
    if kind is None:
        raise DamagedRecord(instance, f"the kind of its message {message!r} is {text!r}")
    return kind


ExecutionColumns: TypeAlias = tuple[int, str, bytes | None, int, int, int | None]


def execution_of(columns: ExecutionColumns, instance: str) -> ExecutionState:
    """The state of an execution."""
    execution, status, output, event_count, started_at, completed_at = columns
    return ExecutionState(
        execution=execution,
        status=status_of(instance, status),
        output=output,
        event_count=event_count,
        started_at=started_at,
        completed_at=completed_at,
    )
