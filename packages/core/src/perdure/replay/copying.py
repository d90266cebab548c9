"""The history that a rewound execution or a fork begins with, and what follows from what it dropped.

Event n of the copy is event n of the source, for every n that is kept but 1: the copy has a start
event of its own, which says where it comes from. Only ids of other instances differ in a fork,
whose code asks for its own (`Recording`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from perdure import history
from perdure.history import CopiedFrom, Event, EventRaised, Kept, OrchestrationStarted, Seed
from perdure.model.envelope import plain_text
from perdure.model.payload import NULL
from perdure.model.wire import EventData, HistoryCopy, StartData, decode_details, encode_raised
from perdure.records.answers import child_answer
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    MessageKind,
    ParentLink,
)
from perdure.records.limits import ENGINE
from perdure.replay.outgoing import Outgoing
from perdure.replay.signals import UndecodableData


def copied_history(
    source: Sequence[Event],
    state: InstanceState,
    execution: int,
    version: str,
    start: StartData,
    copy: HistoryCopy,
) -> list[Event]:
    """The kept part of a history as the beginning of this execution; raises `UndecodableData`."""
    if not source or not isinstance(source[0], OrchestrationStarted):
        raise UndecodableData(
            f"the history of execution {copy.execution} of instance {copy.instance!r}, with which"
            f" {state.instance!r} is to begin, does not begin with OrchestrationStarted"
        )
    first = source[0]
    is_fork = (copy.instance, copy.incarnation) != (state.instance, state.incarnation)
    at = start.requested_at or first.at
    started = replace(
        first,
        instance=state.instance,
        incarnation=state.incarnation,
        execution=execution,
        name=state.name,
        version=version,
        engine=ENGINE,
        parent=state.parent,
        copied_from=CopiedFrom(
            instance=copy.instance,
            incarnation=copy.incarnation,
            execution=copy.execution,
            event=copy.to_event,
            reason=start.reason,
            requested_at=start.requested_at,
        ),
        lineage=_lineage(first, copy.to_event, at, execution if is_fork else None),
        seeds=_seeds(first, copy, state if is_fork else None),
        headers=start.headers or first.headers,
    )
    return [started, *source[1 : copy.to_event]]


def _lineage(
    source: OrchestrationStarted, to_event: int, at: int, only: int | None
) -> tuple[Kept, ...]:
    """Where the kept events come from. `only`: the one execution of a fork, which has them all."""
    earlier = [kept for kept in source.lineage or () if kept.to_event < to_event]
    last = Kept(execution=source.origin(to_event), to_event=to_event, at=at)
    whole = (*earlier, last)
    return whole if only is None else tuple(replace(kept, execution=only) for kept in whole)


def _seeds(
    source: OrchestrationStarted, copy: HistoryCopy, fork: InstanceState | None
) -> tuple[Seed, ...]:
    """Whose random numbers the kept part has; `fork` is the one that draws its own from the cut on."""
    alone = Seed(instance=copy.instance, incarnation=copy.incarnation, execution=copy.execution)
    seeds = source.seeds or (alone,)
    kept = tuple(seed for seed in seeds if seed.from_event < copy.to_event)
    last = seeds[-1]
    if fork is not None:
        last = Seed(
            instance=fork.instance,
            incarnation=fork.incarnation,
            execution=fork.execution,
            from_event=copy.to_event,
        )
    # A fork that is rewound to before its cut goes on with its own all the same.
    return kept if last in kept else (*kept, replace(last, from_event=copy.to_event))


def events_to_deliver_again(
    instance: str, kept: Sequence[Event], dropped: Iterable[Event]
) -> list[Message]:
    """The external events that only the dropped part of the histories has, in order."""
    first = kept[0]
    known = set(first.seen) if isinstance(first, OrchestrationStarted) else set[str]()
    known.update(event.message_id for event in kept if isinstance(event, EventRaised))
    messages: list[Message] = []
    for event in dropped:
        if isinstance(event, EventRaised) and event.message_id not in known:
            known.add(event.message_id)
            messages.append(
                Message(
                    id=event.message_id,
                    instance=instance,
                    kind=MessageKind.EVENT,
                    data=encode_raised(EventData(name=event.name, data=event.data)),
                )
            )
    return messages


def values_at_cut(
    kept: Iterable[Event], dropped: Iterable[Event]
) -> tuple[dict[str, str | None], str | None]:
    """The values that the kept part has set or the dropped one has changed, as they were at the cut.

    None stands for a value that did not exist. Other values are as the store has them. With them
    comes the custom status that the kept part set last, or None.
    """
    values: dict[str, str | None] = {}
    status: str | None = None
    for event in kept:
        if isinstance(event, history.ValueSet) and not event.refused:
            values[event.key] = event.value
        elif isinstance(event, history.StatusSet):
            status = event.value
    for event in dropped:
        if isinstance(event, history.ValueSet) and not event.refused:
            values.setdefault(event.key, event.previous)
    return values, status


def answer_of_child(parent: OrchestrationStarted, number: int, child: InstanceState) -> Message:
    """The answer of a child that has ended, for the execution that has kept its schedule event."""
    link = ParentLink(
        instance=parent.instance,
        incarnation=parent.incarnation,
        execution=parent.origin(number),
        event=number,
    )
    output = child.output or b""
    try:
        if child.status is InstanceStatus.FAILED:
            return child_answer(link, None, decode_details(output))
        return child_answer(link, plain_text(output) or NULL)
    except ValueError as error:
        raise UndecodableData(f"output of {child.instance!r}: {error}") from error


def cancellations_of_dropped(
    events: Sequence[Event], kept: Mapping[int, object], started: OrchestrationStarted
) -> list[Message]:
    """Requests to cancel the children that the execution before had open, and this one has not kept.

    `events` is the history of the execution before, `kept` has the children that this one has kept,
    by the number of their schedule event.
    """
    if not events or not isinstance(events[0], OrchestrationStarted):
        return []
    before = events[0]
    outgoing = Outgoing(
        before.instance, before.incarnation, before.execution, before.parent, before.origin
    )
    return [
        outgoing.cancel_of_child(number, child.instance, "the parent was rewound")
        for number, child in open_children(events).items()
        if number not in kept or before.origin(number) != started.origin(number)
    ]


def open_children(events: Iterable[Event]) -> dict[int, history.ChildScheduled]:
    """The children that have no outcome in a history, by the number of their schedule event."""
    running: dict[int, history.ChildScheduled] = {}
    for event in events:
        if isinstance(event, history.ChildScheduled):
            running[event.event_id] = event
        elif isinstance(event, _ENDS_OF_CHILDREN):
            running.pop(event.scheduled, None)
    return running


_ENDS_OF_CHILDREN = (
    history.ChildCompleted,
    history.ChildFailed,
    history.ChildRefused,
    history.WorkCancelled,
)
