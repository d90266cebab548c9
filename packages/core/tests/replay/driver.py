"""Plays the world around an execution: completes what it asks for, in an order of choice.

A `World` commits turns into histories as a store would, and can at any commit forget the live
execution and rebuild it from the encoded history. With the same choices, a world that never
forgets and one that always does must write the same histories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, cast

from perdure import history
from perdure.authoring.catalog import Catalog
from perdure.authoring.registry import Registry
from perdure.diagnostics.failures import describe
from perdure.history import FORMAT, Event, OrchestrationStarted, decode_event, encode_event
from perdure.model.details import ApplicationFailure, ErrorDetails
from perdure.model.wire import (
    CancelData,
    EventData,
    HistoryCopy,
    ResultData,
    StartData,
    decode_activity,
    decode_start,
    encode_activity,
    encode_cancel,
    encode_raised,
    encode_result,
)
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    MessageKind,
    ParentLink,
)
from perdure.records.turns import NewChild
from perdure.replay.copying import copied_history, events_to_deliver_again, values_at_cut
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.surroundings import Surroundings
from perdure.replay.turn import DraftActivity, TurnDraft

BEGINNING = 1_900_000_000_000_000
MINUTES = timedelta(minutes=5)

Restart = Literal["never", "cold", "evicted"]
Answer = str | ErrorDetails | None
"""JSON text, why it failed, or (of a child) that its id is in use."""


@dataclass(kw_only=True)
class Waiting:
    """Something that can be delivered."""

    label: str
    message: Message
    wanted: bool = True
    """False: it was cancelled, and comes late all the same."""


def run(steps: Generator[None, None, Execution]) -> Execution:
    """What the steps come to."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("Execution", done.value)


def call(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:
    """Run a function or a coroutine that never waits."""
    result = function(*args, **kwargs)
    if not hasattr(result, "send"):
        return result
    try:
        result.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError(f"{function!r} waits for something")


@dataclass(kw_only=True)
class World:
    """One instance and what surrounds it."""

    app: Registry
    name: str
    input: str = "null"
    restart: Restart = "never"
    restart_at: int | None = None
    """The only commit after which it restarts; None: after every one."""
    instance: str = "instance"
    incarnation: str = "incarnation"
    parent: ParentLink | None = None
    cleanup_timeout: timedelta = MINUTES
    answer_activity: Callable[[str, str, int], Answer] | None = None
    """Takes name, input and attempt."""
    answer_child: Callable[[NewChild], Answer] = lambda child: (
        decode_start(child.instance.start.data).input
    )
    python: str = PYTHON
    format: int = FORMAT
    """Of the histories that begin."""
    keeps_late: bool = False
    """Whether what was cancelled stays deliverable, as results do that are under way."""

    now: int = BEGINNING
    histories: list[list[Event]] = field(default_factory=list)
    drafts: list[TurnDraft] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    execution: Execution = field(init=False)
    ended: bool = False
    raised: int = 0
    values: dict[str, str] = field(default_factory=dict)
    """The values of the instance, as a store has them."""
    status: str | None = None
    """The custom status."""
    values_after: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    """The values after each commit, by the execution and its last event."""
    events_sent: list[Message] = field(default_factory=list)
    """External events to other instances."""

    def __post_init__(self) -> None:
        self.catalog = Catalog([self.app])

    # Its course

    def start(self, *, input: str | None = None, seen: tuple[str, ...] = ()) -> World:
        """Begin the first or the next execution and commit its first turn."""
        self.begin(input=input, seen=seen)
        self.commit()
        return self

    def begin(self, *, input: str | None = None, seen: tuple[str, ...] = ()) -> None:
        definition = self.catalog.orchestration(self.name, None)
        assert definition is not None
        self.histories.append([])
        self.execution = Execution.begin(
            OrchestrationStarted(
                event_id=1,
                at=self.now,
                instance=self.instance,
                incarnation=self.incarnation,
                execution=len(self.histories),
                name=self.name,
                version=definition.version,
                input=self.input if input is None else input,
                python=self.python,
                engine=1,
                parent=self.parent,
                seen=seen,
                format=self.format,
            ),
            definition,
            self.catalog,
            cleanup_timeout=self.cleanup_timeout,
            surroundings=Surroundings(inherited=dict(self.values)),
        )

    def rewind(self, to_event: int, execution: int | None = None) -> World:
        """Begin the next execution with a history up to there, and commit its first turn."""
        number = execution or len(self.histories)
        copy = HistoryCopy(
            instance=self.instance,
            incarnation=self.incarnation,
            execution=number,
            to_event=to_event,
        )
        if not self.ended:
            self.execution.discard()
        waiting, self.waiting = [] if self.ended else self.waiting, []
        source = self.histories[number - 1]
        dropped = [source[to_event:], *self.histories[number:]]
        self.ended = False
        self.histories.append([])
        changed, status = values_at_cut(source[:to_event], _all(dropped))
        at_cut = {**self.values, **changed}
        self.copied(source, copy, len(self.histories), _present(at_cut))
        self.execution.restore(changed, status)
        for message in events_to_deliver_again(self.instance, source[:to_event], _all(dropped)):
            self._add(f"event:{message.id}", message)
        self.waiting += [item for item in waiting if item.message.kind in _OUTSIDE]
        # Children that run still, or have ended unheard, answer the new execution.
        for child_number, child in self.execution.kept_children.items():
            self._add(f"child#{child_number}", self._child_message(child_number, child))
        self.commit()
        return self

    def fork(self, to_event: int, instance: str = "fork") -> World:
        """Another world, whose instance begins with this one's history up to there."""
        copy = HistoryCopy(
            instance=self.instance,
            incarnation=self.incarnation,
            execution=len(self.histories),
            to_event=to_event,
        )
        fork = replace(
            self, instance=instance, incarnation=f"incarnation of {instance}", histories=[[]]
        )
        fork.drafts, fork.waiting, fork.now, fork.ended = [], [], self.now, False
        changed, status = values_at_cut(self.history[:to_event], self.history[to_event:])
        fork.values, fork.status, fork.events_sent = {}, None, []
        fork.values_after = {}
        fork.copied(self.history, copy, 1, _present({**self.values, **changed}))
        fork.execution.restore(_present({**self.values, **changed}), status)
        for number in fork.execution.kept_children:
            fork.execution.create_child(number)
        fork.commit()
        return fork

    def copied(
        self, source: list[Event], copy: HistoryCopy, execution: int, values: dict[str, str]
    ) -> None:
        """Have an execution that begins with the copy."""
        definition = self.catalog.orchestration(self.name, None)
        assert definition is not None
        start = StartData(copy=copy, reason="a test", requested_at=self.now)
        state = InstanceState(
            instance=self.instance,
            incarnation=self.incarnation,
            name=self.name,
            version=None,
            engine=3,
            execution=execution,
            last_event=0,
            last_commit=None,
            status=InstanceStatus.RUNNING,
            output=None,
            created_at=self.now,
            updated_at=self.now,
            parent=self.parent,
        )
        events = copied_history(source, state, execution, definition.version, start, copy)
        steps = Execution.copying(
            events,
            definition,
            self.catalog,
            cleanup_timeout=self.cleanup_timeout,
            surroundings=Surroundings(inherited=values),
        )
        self.execution = run(steps)

    def deliver(self, *what: Waiting | str) -> list[bool]:
        """Deliver a batch in this order, and commit; says which were of interest."""
        accepted: list[bool] = []
        for one in what:
            item = self.find(one) if isinstance(one, str) else one
            self.waiting.remove(item)
            self.now += 1000
            due = item.message.visible_at
            if due is not None:
                self.now = max(self.now, due)
            before = self.execution.last_event
            interest = self.execution.accept(item.message, self.now)
            accepted.append(interest)
            if not interest:
                assert self.execution.last_event == before, "what is ignored changes nothing"
            if not item.wanted:
                assert not interest, f"{item.label} was cancelled and was delivered all the same"
        self.commit()
        return accepted

    def commit(self) -> None:
        """Store what the last deliveries brought about."""
        draft = self.execution.take_turn()
        self.drafts.append(draft)
        events = self.history
        for event in draft.events:
            assert event.event_id == len(events) + 1
            events.append(decode_event(event.event_id, encode_event(event)))
            assert events[-1] == event, "an event survives its encoding"
        check_effects(draft)
        self._collect(draft)
        self.values_after[len(self.histories), len(events)] = dict(self.values)
        if draft.end is not None:
            self._end(draft)
        elif self.restart != "never" and self.restart_at in (None, len(self.drafts)):
            self.forget()

    def forget(self) -> None:
        """Rebuild the execution from its history; it asks for nothing new."""
        if self.restart == "evicted":
            self.execution.discard()
        old, self.execution = self.execution, self.rebuilt()
        self.execution.inherit(dict(self.values))
        assert self.execution.values == self.values
        assert self.execution.last_event == old.last_event
        if self.restart != "evicted":
            old.discard()

    def rebuilt(self, number: int = 0) -> Execution:
        """An execution made of the stored history alone."""
        definition = self.catalog.orchestration(self.name, None)
        assert definition is not None
        rebuilt = Execution.rebuild(
            tuple(self.histories[number - 1]),
            definition,
            self.catalog,
            cleanup_timeout=self.cleanup_timeout,
        )
        if rebuilt.take_turn() != TurnDraft():
            rebuilt.discard()
            raise AssertionError("a rebuilt execution asks for something new")
        return rebuilt

    def _collect(self, draft: TurnDraft) -> None:
        changed = {
            key: None if each is None else each.decode() for key, each in draft.values.items()
        }
        self.values = _present({**self.values, **changed})
        if draft.custom_status is not None:
            self.status = draft.custom_status.decode()
        for message in draft.sent:
            if message.kind is MessageKind.EVENT:
                self.events_sent.append(message)
                if message.instance == self.instance:
                    self._add(f"event:{message.id}", message)
        for number, activity in draft.activities.items():
            self._add(f"{activity.name}#{number}", self._activity_message(number, activity))
        for number, timer in draft.timers.items():
            self._add(f"timer#{number}", timer)
        for number, child in draft.children.items():
            self._add(f"child#{number}", self._child_message(number, child))
        gone = {f"activity:{identity}" for identity in draft.cancelled_activities}
        gone.update(draft.removed)
        for message in draft.sent:
            if message.kind is MessageKind.CANCEL:
                gone.update(
                    item.message.id
                    for item in self.waiting
                    if item.message.id.startswith("child:")
                    and item.label in (f"child#{event}" for event in self._children(message))
                )
        for item in self.waiting:
            if item.message.id in gone:
                item.wanted = False
        if not self.keeps_late:
            self.waiting = [item for item in self.waiting if item.wanted]

    def _children(self, message: Message) -> Iterable[int]:
        return (
            event.event_id
            for event in self.history
            if isinstance(event, history.ChildScheduled) and event.instance == message.instance
        )

    def _end(self, draft: TurnDraft) -> None:
        number = len(self.histories)
        again = self.rebuilt(number)
        assert again.terminal == self.history[-1], "a full replay ends alike"
        again.discard()
        self.execution.discard()
        kept = [item for item in self.waiting if item.message.kind in _OUTSIDE]
        self.waiting = []
        assert draft.end is not None
        if draft.end.status is not InstanceStatus.CONTINUED_AS_NEW:
            self.ended = True
            return
        first, *carried = draft.front
        assert first.kind is MessageKind.START
        for message in carried:
            self._add(f"event:{message.id}", message)
        self.waiting.extend(kept)
        start = decode_start(first.data)
        self.start(input=start.input, seen=start.seen)

    def discard(self) -> None:
        """Free what is in memory."""
        if self.histories:
            self.execution.discard()

    # What comes from outside

    def raise_event(self, name: str, data: str = "null", *, id: str | None = None) -> str:
        """Put an external event into the mailbox; returns its label."""
        self.raised += 1
        chosen = id or f"e{self.raised}"
        message = Message(
            id=chosen,
            instance=self.instance,
            kind=MessageKind.EVENT,
            data=encode_raised(EventData(name=name, data=data)),
        )
        return self._add(f"event:{chosen}", message)

    def cancel(self, reason: str = "enough") -> str:
        """Put a request to cancel into the mailbox; returns its label."""
        message = Message(
            id="cancel",
            instance=self.instance,
            kind=MessageKind.CANCEL,
            data=encode_cancel(CancelData(reason=reason)),
        )
        return self._add("cancel", message)

    def find(self, label: str) -> Waiting:
        """What waits under this label, or its beginning."""
        for item in self.waiting:
            if item.label == label or item.label.startswith(f"{label}#"):
                return item
        raise AssertionError(f"no {label!r} waits; there is {self.labels}")

    @property
    def labels(self) -> list[str]:
        """Of everything that can be delivered."""
        return [item.label for item in self.waiting]

    # What became of it

    @property
    def history(self) -> list[Event]:
        """Of the newest execution."""
        return self.histories[-1]

    @property
    def terminal(self) -> Event:
        """The last event of the instance."""
        assert self.ended, f"it has not ended; there waits {self.labels}"
        return self.history[-1]

    @property
    def output(self) -> str:
        """What it completed with."""
        terminal = self.terminal
        assert isinstance(terminal, history.OrchestrationCompleted), terminal
        return terminal.output

    @property
    def failure(self) -> ErrorDetails:
        """What it failed with."""
        terminal = self.terminal
        assert isinstance(terminal, history.OrchestrationFailed), terminal
        return terminal.details

    def events(self, kind: type[Any]) -> list[Any]:
        """The events of this kind, of all executions."""
        return [event for events in self.histories for event in events if isinstance(event, kind)]

    # Answers

    def _add(self, label: str, message: Message) -> str:
        self.waiting.append(Waiting(label=label, message=message))
        return label

    def _activity_message(self, number: int, activity: DraftActivity) -> Message:
        data = decode_activity(encode_activity(activity.data))
        assert data.event == number
        if self.answer_activity is not None:
            answer = self.answer_activity(activity.name, data.input, data.attempt)
        else:
            answer = self._run_activity(activity.name, data.input)
        return self._result(MessageKind.ACTIVITY, f"activity:{activity.id}", number, answer)

    def _run_activity(self, name: str, text: str) -> Answer:
        from perdure.model.payload import encode

        definition = self.catalog.activities[name]
        reference = definition.reference
        args, kwargs = reference.parameters.decode(text, f"activity {name!r}")
        try:
            return encode(call(definition.function, *args, **kwargs), reference.result_type)
        except Exception as error:  # noqa: BLE001 # whatever an activity raises
            return ApplicationFailure(describe(error))

    def _child_message(self, number: int, child: NewChild) -> Message:
        answer = self.answer_child(child)
        return self._result(MessageKind.CHILD, f"child:{number}", number, answer)

    def _result(self, kind: MessageKind, id: str, number: int, answer: Answer) -> Message:
        data = ResultData(
            scheduled=number,
            result=answer if isinstance(answer, str) else None,
            details=answer if not isinstance(answer, str) else None,
        )
        return Message(id=id, instance=self.instance, kind=kind, data=encode_result(data))


_OUTSIDE = (MessageKind.EVENT, MessageKind.CANCEL)


def _all(parts: Iterable[list[Event]]) -> Iterator[Event]:
    return (event for part in parts for event in part)


def _present(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: text for key, text in values.items() if text is not None}


def check_effects(draft: TurnDraft) -> None:
    """No scheduled event without its work, no work without its event."""
    asked = {
        event.event_id: event
        for event in draft.events
        if isinstance(
            event, history.ActivityScheduled | history.TimerCreated | history.ChildScheduled
        )
    }
    undone = {event.scheduled for event in draft.events if isinstance(event, _ENDS)}
    if isinstance(draft.events[0] if draft.events else None, OrchestrationStarted):
        # Children that a copied history has kept may exist.
        undone |= kept_children(draft)
    effects = {*draft.activities, *draft.timers, *draft.children}
    if draft.end is not None:
        assert not effects, "an ended execution leaves no work"
    else:
        assert effects == asked.keys() - undone
    copied = copied_to(draft)
    detached = [
        event
        for event in draft.events
        if isinstance(event, history.DetachedScheduled) and event.event_id > copied
    ]
    assert [new.instance.instance for new in draft.detached] == [
        event.instance for event in detached
    ]


def copied_to(draft: TurnDraft) -> int:
    """The last event of the turn that was copied; 0 if none was."""
    first = draft.events[0] if draft.events else None
    source = first.copied_from if isinstance(first, OrchestrationStarted) else None
    return 0 if source is None else source.event


def kept_children(draft: TurnDraft) -> set[int]:
    """The children of a copied history that were not started again."""
    copied = copied_to(draft)
    return {
        event.event_id
        for event in draft.events
        if isinstance(event, history.ChildScheduled)
        and event.event_id <= copied
        and event.event_id not in draft.children
    }


_ENDS = (
    history.WorkCancelled,
    history.ActivityCompleted,
    history.ActivityFailed,
    history.TimerFired,
    history.ChildCompleted,
    history.ChildFailed,
    history.ChildRefused,
)


# Whole courses


Choose = Callable[[list[Waiting]], list[Waiting]]


def in_order(waiting: list[Waiting]) -> list[Waiting]:
    """One after the other, timers last and by their due times."""
    return [min(waiting, key=lambda item: item.message.visible_at or 0)]


def shuffled(seed: object) -> Choose:
    """Batches of random size in random order; a cancellation first, as runtimes deliver it."""
    stream = random.Random(str(seed))

    def choose(waiting: list[Waiting]) -> list[Waiting]:
        size = min(len(waiting), stream.choice((1, 1, 1, 2, 3)))
        batch = stream.sample(waiting, size)
        return sorted(batch, key=lambda item: item.message.kind is not MessageKind.CANCEL)

    return choose


def play(world: World, choose: Choose = in_order, *, limit: int = 2000) -> World:
    """Start it unless it was, and deliver what waits until it ends or nothing waits."""
    if not world.histories:
        world.start()
    for _ in range(limit):
        if world.ended or not world.waiting:
            return world
        world.deliver(*choose(world.waiting))
    raise AssertionError(f"no end after {limit} deliveries; there waits {world.labels}")


def play_everywhere(
    make: Callable[[Restart], World],
    *,
    orders: int = 6,
    start: Callable[[World], None] | None = None,
) -> list[World]:
    """Play in several orders, live and with a restart after every commit; all must agree.

    `start` puts into the mailbox what comes from outside. Returns the live worlds.
    """
    worlds: list[World] = []
    for seed in range(orders):
        courses: dict[Restart, World] = {}
        modes: tuple[Restart, ...] = ("never", "cold", "evicted")
        for mode in modes:
            world = make(mode)
            if start is not None:
                start(world)
            chosen = in_order if seed == 0 else shuffled(seed)
            courses[mode] = play(world, chosen)
        live = courses["never"]
        for mode in modes:
            assert courses[mode].histories == live.histories, f"{mode} differs from live"
            assert courses[mode].drafts == live.drafts, f"effects of {mode} differ from live"
        worlds.append(live)
    return worlds
