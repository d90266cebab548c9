"""Begins rewound executions and forks: reads what they keep, and settles what was dropped.

The first turn does all of it in one commit, so that a crash before the commit leaves an instance
whose next lease does the same again:

- The kept events become the execution's own, and what is open in them is scheduled again.
- A child that was open there and runs still goes on, and answers the new execution. One that has
  ended is answered from its state. One that the dropped part, or a rewind before, had cancelled is
  rewound itself, to before the cancellation; that call is made before the commit, and its repeat
  has no effect.
- Children that the dropped part had started are cancelled.
- External events that the dropped part had are put to the front of the mailbox, in their order.
- Values and the custom status are what they were at the cut.

A fork has its own children, none of the later events, and the values of its source at the cut. The
source is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from perdure import history
from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.errors import ExecutionNotFound, HistoryConflict, InstanceNotFound
from perdure.history import TERMINAL, Event
from perdure.model.details import Cancelled, Corruption, InfrastructureFailure
from perdure.model.message_ids import restart_id
from perdure.model.record import record
from perdure.model.wire import HistoryCopy, StartData, decode_details, encode_start
from perdure.records.cuts import cut_before_failure
from perdure.records.engines import engine_of_start
from perdure.records.instances import InstanceState, InstanceStatus, Message, MessageKind
from perdure.records.recovery import InstanceReopening
from perdure.records.turns import NewChild
from perdure.replay.copying import (
    answer_of_child,
    cancellations_of_dropped,
    events_to_deliver_again,
    values_at_cut,
)
from perdure.replay.execution import Execution
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.histories import read_execution, read_values

_BY_PARENT = "its parent was rewound to before it cancelled this child"


class SourceGone(Exception):  # a signal within the runtime
    """The history that an execution is to begin with does not exist any more."""

    def __init__(self, instance: str, copy: HistoryCopy) -> None:
        super().__init__(
            f"instance {instance!r} was to begin with events 1 to {copy.to_event} of execution"
            f" {copy.execution} of instance {copy.instance!r}, which were deleted"
        )

    @property
    def details(self) -> InfrastructureFailure:
        """How the instance ends."""
        return InfrastructureFailure(Corruption(message=str(self)))


@record
class CopySource:
    """What a copy is made from."""

    copy: HistoryCopy
    events: Sequence[Event]
    """The whole history to begin with."""
    later: Sequence[Sequence[Event]]
    """The histories of the executions behind it, of the same instance."""
    values: Mapping[str, str]
    """The values of that instance, as JSON texts, no newer than the histories."""
    status: bytes | None
    """Its custom status."""

    @property
    def kept(self) -> Sequence[Event]:
        """The part to begin with."""
        return self.events[: self.copy.to_event]

    @property
    def dropped(self) -> Iterator[Event]:
        """Everything behind the cut, in order."""
        yield from self.events[self.copy.to_event :]
        for events in self.later:
            yield from events

    def at_cut(self) -> AtCut:
        """The values and the custom status as they were at the cut."""
        changed, status = values_at_cut(self.kept, self.dropped)
        values = {key: text for key, text in {**self.values, **changed}.items() if text is not None}
        return AtCut(values=values, changed=changed, status=status)


@record
class AtCut:
    """The values and the custom status of an instance at a cut."""

    values: Mapping[str, str]
    changed: Mapping[str, str | None]
    """Those that the histories say; the others are as the store has them."""
    status: str | None
    """What the kept part has set last; None if it has set none."""


def is_fork(state: InstanceState, copy: HistoryCopy) -> bool:
    """Whether the copied history is another instance's."""
    return (copy.instance, copy.incarnation) != (state.instance, state.incarnation)


async def read_copied(provider: Provider, instance: str, copy: HistoryCopy) -> list[Event]:
    """The whole history to begin with. Raises `SourceGone`, `UndecodableData` or `ProviderError`."""
    try:
        events = await read_execution(provider, copy.instance, copy.incarnation, copy.execution)
    except (InstanceNotFound, ExecutionNotFound) as error:
        raise SourceGone(instance, copy) from error
    if len(events) < copy.to_event:
        raise SourceGone(instance, copy)
    return events


async def read_source(provider: Provider, held: HeldInstance, copy: HistoryCopy) -> CopySource:
    """What the execution is to begin with; raises as `read_copied`.

    The values of a fork's source are read before its histories, since it may run on: the histories
    then say what every value that has changed since was before.
    """
    state, values, last = held.state, held.inherited, held.execution - 1
    if is_fork(held.state, copy):
        source = await with_retries(
            provider.clock, lambda: provider.read_instance(copy.instance), tries=PATIENT_TRIES
        )
        if source is None or source.incarnation != copy.incarnation:
            raise SourceGone(held.instance, copy)
        state, values = source, await read_values(provider, source)
        last = source.execution if values else copy.execution
    events = await read_copied(provider, held.instance, copy)
    later = [
        await read_execution(provider, copy.instance, copy.incarnation, number)
        for number in range(copy.execution + 1, last + 1)
    ]
    return CopySource(
        copy=copy, events=events, later=later, values=values, status=state.custom_status
    )


def settle_fork(execution: Execution, at_cut: AtCut) -> None:
    """Start the children that are open in the kept part, and set the values: all are the fork's own."""
    for number in execution.kept_children:
        execution.create_child(number)
    execution.restore(at_cut.values, at_cut.status)


class Rewind:
    """What the first turn of a rewound execution settles."""

    def __init__(self, provider: Provider, execution: Execution, source: CopySource) -> None:
        self._provider = provider
        self._execution = execution
        self._source = source

    async def settle(self, at_cut: AtCut) -> None:
        """Add it to the turn. Raises `UndecodableData` or `ProviderError`."""
        execution, started, source = self._execution, self._execution.started, self._source
        before = source.later[-1] if source.later else source.events
        dropped = source.events[source.copy.to_event :]
        execution.send(cancellations_of_dropped(before, execution.kept_children, started))
        self._restore(at_cut)
        events = events_to_deliver_again(started.instance, source.kept, source.dropped)
        answers: list[Message] = []
        for number, child in execution.kept_children.items():
            state = await self._state_of(number, child, dropped)
            if state is None:
                execution.create_child(number)
            elif state.status is not InstanceStatus.RUNNING:
                answers.append(answer_of_child(started, number, state))
        execution.put_to_front([*events, *answers])

    def _restore(self, at_cut: AtCut) -> None:
        """Put back the values and the custom status that differ from what the store has."""
        stored, status = self._source.values, at_cut.status
        values = {key: text for key, text in at_cut.changed.items() if stored.get(key) != text}
        is_other = status is not None and status.encode() != self._source.status
        self._execution.restore(values, status if is_other else None)

    async def _state_of(
        self, number: int, child: NewChild, dropped: Sequence[Event]
    ) -> InstanceState | None:
        """The state of a kept child; None if there is none, because another instance has its id."""
        state = await self._read_child(child)
        if state is None or state.status is InstanceStatus.COMPLETED:
            return state
        if not (self._source.later or _was_cancelled(number, dropped)):
            return state
        to_event = await self._event_before_cancellation(state)
        if to_event is None:
            return state
        try:
            await self._reopen(number, state, to_event)
        except (HistoryConflict, InstanceNotFound):
            return await self._read_child(child)
        return replace(state, status=InstanceStatus.RUNNING)

    async def _read_child(self, child: NewChild) -> InstanceState | None:
        provider, new = self._provider, child.instance
        state = await with_retries(
            provider.clock, lambda: provider.read_instance(new.instance), tries=PATIENT_TRIES
        )
        return state if state is not None and state.incarnation == new.incarnation else None

    async def _event_before_cancellation(self, child: InstanceState) -> int | None:
        """The cut before the child's cancellation; None if it was not cancelled."""
        running = child.status is InstanceStatus.RUNNING
        if not running and not isinstance(decode_details(child.output or b"").kind, Cancelled):
            return None
        if child.last_event == 0:
            return None
        events = await read_execution(
            self._provider, child.instance, child.incarnation, child.execution
        )
        if not running:
            return cut_before_failure(events)
        asked = [event for event in events if isinstance(event, history.CancelRequested)]
        return asked[0].event_id - 1 if asked else None

    async def _reopen(self, number: int, child: InstanceState, to_event: int) -> None:
        provider, started = self._provider, self._execution.started
        execution = child.execution + 1
        start = StartData(
            copy=HistoryCopy(
                instance=child.instance,
                incarnation=child.incarnation,
                execution=child.execution,
                to_event=to_event,
            ),
            reason=_BY_PARENT,
            requested_at=provider.clock.now(),
        )
        reopening = InstanceReopening(
            id=f"rewound:{started.incarnation}:{started.execution}:{number}",
            instance=child.instance,
            incarnation=child.incarnation,
            execution=child.execution,
            start=Message(
                id=restart_id(child.incarnation, execution),
                instance=child.instance,
                incarnation=child.incarnation,
                execution=execution,
                kind=MessageKind.START,
                data=encode_start(start),
            ),
            engine=engine_of_start(start),
        )
        await with_retries(
            provider.clock, lambda: provider.reopen_instance(reopening), tries=PATIENT_TRIES
        )
        provider.notifier.notify_turns(child.instance)


def _was_cancelled(number: int, dropped: Sequence[Event]) -> bool:
    """Whether the dropped part cancelled the child: by itself, or with its end."""
    for event in dropped:
        if isinstance(event, history.WorkCancelled) and event.scheduled == number:
            return True
        if isinstance(event, (history.ChildCompleted, history.ChildFailed)) and (
            event.scheduled == number
        ):
            return False
    return bool(dropped) and isinstance(dropped[-1], TERMINAL)
