"""The rows that the functions of the database return, as records of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from perdure.contract import (
    ActivityRequest,
    InstanceState,
    InstanceStatus,
    LeasedActivity,
    LeasedTurn,
    Message,
    MessageKind,
    ParentLink,
    ParkedState,
    TurnRequest,
)

from perdure_postgres._errors import DamagedRecord
from perdure_postgres._texts import told

_KINDS: Final = {kind.value: kind for kind in MessageKind}
_STATUSES: Final = {
    status.value: status for status in InstanceStatus if status != InstanceStatus.CONTINUED_AS_NEW
}


def status_of(instance: str, text: str) -> InstanceStatus:
    """The status of an instance; raises `DamagedRecord` for a text that is none."""
    status = _STATUSES.get(text)
    if status is None:
        raise DamagedRecord(instance, f"its status is {text!r}")
    return status


def message_of(fields: list[Any], data: bytes, instance: str, incarnation: str) -> Message:
    """A message of a delivery."""
    message_id, kind, addressed, execution, visible_at = fields
    if kind not in _KINDS:
        raise DamagedRecord(instance, f"the kind of its message {message_id!r} is {kind!r}")
    return Message(
        id=told(message_id),
        instance=instance,
        kind=_KINDS[kind],
        data=data,
        incarnation=incarnation if addressed else None,
        execution=execution,
        visible_at=visible_at,
    )


def state_of(
    fields: Mapping[str, Any], custom_status: bytes | None, output: bytes | None
) -> InstanceState:
    """The plain fields of an instance; raises `DamagedRecord` if they are not valid."""
    instance = told(fields["instance"])
    status = status_of(instance, fields["status"])
    has_ended = status is not InstanceStatus.RUNNING
    if has_ended and fields["ended_as"] != status.value:
        raise DamagedRecord(instance, f"the end of execution {fields['execution']} is lost")
    parked, parent = fields["parked"], fields["parent"]
    return InstanceState(
        instance=instance,
        incarnation=told(fields["incarnation"]),
        name=told(fields["name"]),
        version=told(fields["version"]),
        engine=fields["engine"],
        execution=fields["execution"],
        last_event=fields["last_event"],
        last_commit=told(fields["last_commit"]),
        status=status,
        output=output if has_ended else None,
        created_at=fields["created_at"],
        updated_at=fields["updated_at"],
        parked=None
        if parked is None
        else ParkedState(reason=told(parked[0]), details=told(parked[1]), since=parked[2]),
        parent=None
        if parent is None
        else ParentLink(
            instance=told(parent[0]),
            incarnation=told(parent[1]),
            execution=parent[2],
            event=parent[3],
        ),
        labels=_labels_of(fields["labels"]),
        custom_status=custom_status,
        custom_status_version=fields["custom_status_version"],
        value_count=fields["value_count"],
    )


def _labels_of(given: dict[str, str] | None) -> dict[str, str]:
    return {told(key): told(value) for key, value in (given or {}).items()}


def turns_of(
    rows: Iterable[tuple[Any, ...]], request: TurnRequest
) -> tuple[list[LeasedTurn], list[DamagedRecord]]:
    """The leased turns, and what is wrong with others, which stay leased without a holder."""
    heads: dict[int, tuple[dict[str, Any], bytes | None]] = {}
    messages: dict[int, list[tuple[list[Any], bytes]]] = {}
    more: set[int] = set()
    for number, part, fields, data in rows:
        if part == 0:
            heads[number] = (fields, data)
            messages[number] = []
        elif part == 1:
            messages[number].append((fields, data))
        elif part == 2:
            more.add(number)
    leased: list[LeasedTurn] = []
    damaged: list[DamagedRecord] = []
    for number, (fields, custom_status) in heads.items():
        try:
            state = state_of({**fields, "ended_as": None}, custom_status, None)
            delivered = tuple(
                message_of(each, data, state.instance, state.incarnation)
                for each, data in messages[number]
            )
        except DamagedRecord as damage:
            damaged.append(damage)
            continue
        serves = request.serves
        leased.append(
            LeasedTurn(
                state=state,
                token=request.token,
                until=fields["until"],
                attempt=fields["attempt"],
                messages=delivered,
                more=number in more,
                served=state.engine <= serves.engine and serves.accepts(state.name, state.version),
            )
        )
    return leased, damaged


def activity_of(fields: Mapping[str, Any], data: bytes, request: ActivityRequest) -> LeasedActivity:
    """A leased activity."""
    name = told(fields["name"])
    tag = told(fields["tag"][1:]) if fields["tag"] else None
    return LeasedActivity(
        instance=told(fields["instance"]),
        incarnation=told(fields["incarnation"]),
        execution=fields["execution"],
        id=told(fields["id"]),
        name=name,
        tag=tag,
        data=data,
        token=request.token,
        until=fields["until"],
        delivery=fields["delivery"],
        added_at=fields["added_at"],
        served=name in request.names and tag in request.tags,
    )
