"""The calls that a client makes on a provider: create, raise, cancel and read.

Every call checks its arguments before anything is stored, and retries retryable errors of the
storage a few times under the same ids. Once something is stored it notifies this process, so that a
runtime in it acts at once.
"""

from __future__ import annotations

import uuid

from perdure.client.arguments import check_reason
from perdure.clock import to_datetime
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import StorageCorrupt
from perdure.model.details import ErrorDetails
from perdure.model.envelope import plain_text
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.model.message_ids import CANCEL_ID, event_message_id
from perdure.model.payload import NULL, check_text, encode
from perdure.model.status import (
    Completed,
    EventArrival,
    Failed,
    NotFound,
    OrchestrationStatus,
    Parked,
    Running,
)
from perdure.model.wire import (
    CancelData,
    EventData,
    decode_details,
    encode_cancel,
    encode_raised,
)
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    MessageKind,
    NewInstance,
    ParkedState,
)

DEFAULT_REASON = "requested by a client"


async def create(provider: Provider, new: NewInstance) -> None:
    """Create the instance; raises `InstanceAlreadyExists`."""
    # Every retry has the same incarnation, so a lost response does not start it twice.
    await with_retries(provider.clock, lambda: provider.create_instance(new))
    provider.notifier.notify_turns(new.instance)


async def raise_event(
    provider: Provider, instance: str, name: str, data: str | None, event_id: str | None
) -> EventArrival:
    """Put an external event into the mailbox of an instance, which need not exist yet."""
    _refuse_event(instance, name)
    text = check_text(data, what=f"data of event {name!r}")
    return await _send_event(provider, instance, name, text, event_id)


async def raise_event_typed(
    provider: Provider, instance: str, name: str, value: object, event_id: str | None
) -> EventArrival:
    """Like `raise_event`, with a value."""
    _refuse_event(instance, name)
    text = encode(value, what=f"value of event {name!r}")
    return await _send_event(provider, instance, name, text, event_id)


def _refuse_event(instance: str, name: str) -> None:
    refuse_inside_orchestration(
        "raise_event", "use ctx.raise_event, or an activity, whose context has a client"
    )
    check_identifier(instance, "instance id")
    check_identifier(name, "event name")


async def _send_event(
    provider: Provider, instance: str, name: str, text: str, event_id: str | None
) -> EventArrival:
    if event_id is not None:
        check_identifier(event_id, "event id")
    message = Message(
        id=event_message_id(event_id or uuid.uuid4().hex),
        instance=instance,
        kind=MessageKind.EVENT,
        data=encode_raised(EventData(name=name, data=text)),
    )
    # Before the event is sent: an error of a read behind it would have the caller raise it twice.
    state = await read(provider, instance)
    await with_retries(provider.clock, lambda: provider.send([message]))
    provider.notifier.notify_turns(instance)
    if state is None:
        return EventArrival.EARLY
    return EventArrival.LATE if has_ended(state) else EventArrival.RUNNING


async def cancel(provider: Provider, instance: str, reason: str) -> None:
    """Ask a running instance to end; has no effect if it is unknown or has ended."""
    refuse_inside_orchestration("cancel_instance", "cancel the awaited future instead")
    check_identifier(instance, "instance id")
    data = encode_cancel(CancelData(reason=check_reason(reason)))
    state = await read(provider, instance)
    if state is None or has_ended(state):
        return
    message = Message(
        id=CANCEL_ID,
        instance=instance,
        kind=MessageKind.CANCEL,
        # Addressed to this instance, so that a later one with the same id is not cancelled.
        incarnation=state.incarnation,
        data=data,
    )
    await with_retries(provider.clock, lambda: provider.send([message]))
    provider.notifier.notify_turns(instance)


async def read(provider: Provider, instance: str) -> InstanceState | None:
    """The state of an instance, or None."""
    return await with_retries(provider.clock, lambda: provider.read_instance(instance))


async def read_status(provider: Provider, instance: str) -> OrchestrationStatus:
    """The status of an instance's newest execution."""
    refuse_inside_orchestration("get_orchestration_status", "look in an activity")
    check_identifier(instance, "instance id")
    state = await read(provider, instance)
    return NotFound() if state is None else status_of(state)


def has_ended(state: InstanceState) -> bool:
    """Whether the instance has completed or failed."""
    return state.status in (InstanceStatus.COMPLETED, InstanceStatus.FAILED)


def status_of(state: InstanceState) -> Running | Completed | Failed:
    """The status of an instance; raises `StorageCorrupt` if its output cannot be decoded."""
    custom, version = custom_status_of(state), state.custom_status_version
    if state.status is InstanceStatus.COMPLETED:
        output = text_of(state.output, state.instance)
        return Completed(output=output, custom_status=custom, custom_status_version=version)
    if state.status is InstanceStatus.FAILED:
        details = details_of(state.output, state.instance)
        return Failed(details=details, custom_status=custom, custom_status_version=version)
    parked = parked_of(state.parked)
    return Running(parked=parked, custom_status=custom, custom_status_version=version)


def parked_of(parked: ParkedState | None) -> Parked | None:
    """The parked state for clients."""
    if parked is None:
        return None
    return Parked(reason=parked.reason, since=to_datetime(parked.since), details=parked.details)


def text_of(output: bytes | None, instance: str) -> str:
    """The output of a completed instance, as JSON text."""
    try:
        return NULL if output is None else plain_text(output)
    except ValueError as error:
        raise _corrupt(instance, error) from error


def custom_status_of(state: InstanceState) -> str | None:
    """The custom status of an instance, as JSON text."""
    return None if state.custom_status is None else text_of(state.custom_status, state.instance)


def details_of(output: bytes | None, instance: str) -> ErrorDetails:
    """Why an instance failed."""
    try:
        return decode_details(output or b"")
    except ValueError as error:
        raise _corrupt(instance, error) from error


def _corrupt(instance: str, error: ValueError) -> StorageCorrupt:
    return StorageCorrupt(
        f"the stored output of instance {instance!r} cannot be decoded: {error}; look at its"
        " history with read_execution_history",
        operation="read_instance",
    )
