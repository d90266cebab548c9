"""What an execution sends, as records of the contract.

Every id consists of the sender's identity and the number of a schedule event. The same command
therefore makes the same record in every process, and a repeat is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perdure.clock import Instant
from perdure.history import EventRaised
from perdure.model.details import ErrorDetails
from perdure.model.identifiers import child_incarnation
from perdure.model.message_ids import (
    CANCEL_ID,
    activity_id,
    event_message_id,
    refused_child_id,
    restart_id,
    start_id,
    timer_id,
)
from perdure.model.wire import (
    ActivityData,
    CancelData,
    EventData,
    ResultData,
    StartData,
    encode_cancel,
    encode_raised,
    encode_result,
    encode_start,
)
from perdure.records.answers import child_answer
from perdure.records.engines import engine_of_start
from perdure.records.instances import Message, MessageKind, NewInstance, ParentLink
from perdure.records.turns import NewChild
from perdure.replay.turn import DraftActivity


@dataclass(slots=True, eq=False, repr=False)
class Outgoing:
    """The records that one execution sends. Not frozen, because every execution makes one."""

    instance: str
    incarnation: str
    execution: int
    parent: ParentLink | None
    origin: Callable[[int], int] | None = None
    """The execution in which a schedule event was first recorded; None: this one."""
    labels: Mapping[str, str] | None = None
    """The labels of the instance, which its children inherit."""
    headers: Mapping[str, str] | None = None
    """The headers of the instance, which its activities and children inherit."""

    def origin_of(self, number: int) -> int:
        """The execution in which a schedule event was first recorded.

        Children and keys are known by it, so that a rewind finds what it has kept.
        """
        return self.execution if self.origin is None else self.origin(number)

    def activity_id(self, number: int) -> str:
        """The id of the activity of a schedule event."""
        return activity_id(self.execution, number)

    def timer_id(self, number: int) -> str:
        """The id of a timer's message."""
        return timer_id(self.execution, number)

    def activity(self, name: str, tag: str | None, data: ActivityData) -> DraftActivity:
        """An activity for the queue."""
        return DraftActivity(activity_id(self.execution, data.event), name, tag, data)

    def timer(self, number: int, fire_at: Instant) -> Message:
        """A message to the own mailbox that becomes visible when the timer is due."""
        return Message(
            id=self.timer_id(number),
            instance=self.instance,
            incarnation=self.incarnation,
            execution=self.execution,
            kind=MessageKind.TIMER,
            visible_at=fire_at,
            data=encode_result(ResultData(scheduled=number)),
        )

    def child(
        self, number: int, instance: str, name: str, version: str | None, input: str
    ) -> NewChild:
        """A child, and the message that returns if its id is in use."""
        link = ParentLink(
            instance=self.instance,
            incarnation=self.incarnation,
            execution=self.origin_of(number),
            event=number,
        )
        return NewChild(
            instance=self._new_instance(number, instance, name, version, input, link),
            if_exists=Message(
                id=refused_child_id(self.execution, number),
                instance=self.instance,
                incarnation=self.incarnation,
                execution=self.execution,
                kind=MessageKind.CHILD,
                data=encode_result(ResultData(scheduled=number)),
            ),
        )

    def detached(
        self, number: int, instance: str, name: str, version: str | None, input: str
    ) -> NewChild:
        """An independent instance."""
        return NewChild(instance=self._new_instance(number, instance, name, version, input, None))

    def _new_instance(
        self,
        number: int,
        instance: str,
        name: str,
        version: str | None,
        input: str,
        parent: ParentLink | None,
    ) -> NewInstance:
        incarnation = self.child_incarnation(number)
        start = StartData(input=input, headers=self.headers or {})
        return NewInstance(
            instance=instance,
            incarnation=incarnation,
            name=name,
            version=version,
            parent=parent,
            start=Message(
                id=start_id(incarnation),
                instance=instance,
                incarnation=incarnation,
                kind=MessageKind.START,
                data=encode_start(start),
            ),
            engine=engine_of_start(start),
            labels=self.labels or {},
        )

    def event(self, number: int, instance: str, name: str, data: str) -> Message:
        """An external event for any instance, itself included."""
        event_id = f"{self.incarnation}:{self.execution}:{number}"
        return Message(
            id=event_message_id(event_id),
            instance=instance,
            kind=MessageKind.EVENT,
            data=encode_raised(EventData(name=name, data=data)),
        )

    def child_incarnation(self, number: int) -> str:
        """The incarnation of the child of a schedule event."""
        return child_incarnation(self.incarnation, self.origin_of(number), number)

    def cancel_of_child(self, number: int, instance: str, reason: str) -> Message:
        """A request to cancel a child; it never reaches another instance with the same id."""
        return Message(
            id=CANCEL_ID,
            instance=instance,
            incarnation=self.child_incarnation(number),
            kind=MessageKind.CANCEL,
            data=encode_cancel(CancelData(reason=reason)),
        )

    def answer_to_parent(
        self, result: str | None, details: ErrorDetails | None
    ) -> tuple[Message, ...]:
        """The message that tells the parent how the child ended; empty without a parent."""
        parent = self.parent
        return () if parent is None else (child_answer(parent, result, details),)

    def next_execution(
        self, input: str, seen: Sequence[str], unread: Sequence[EventRaised]
    ) -> list[Message]:
        """The start of the next execution, followed by the events that no wait has taken, in order."""
        start = Message(
            id=restart_id(self.incarnation, self.execution + 1),
            instance=self.instance,
            incarnation=self.incarnation,
            kind=MessageKind.START,
            data=encode_start(StartData(input=input, seen=tuple(seen), headers=self.headers or {})),
        )
        carried = (
            Message(
                id=event.message_id,
                instance=self.instance,
                kind=MessageKind.EVENT,
                data=encode_raised(EventData(name=event.name, data=event.data)),
            )
            for event in unread
        )
        return [start, *carried]
