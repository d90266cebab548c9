"""Instances in memory, and what is under way for them: a test chooses what arrives next.

There is no storage, no runtime and no time: the engine runs, and everything that it asks for becomes
an arrival that may come at any later step. A timer is the only one that keeps an order: it does not
fire before one that is due earlier. An activity is called when its result arrives.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import cast

from perdure.authoring.catalog import Catalog
from perdure.client import Client
from perdure.clock import Instant, ManualClock
from perdure.errors import NotRegistered
from perdure.history import FORMAT, Event, OrchestrationStarted, TimerCreated
from perdure.model.details import ErrorDetails
from perdure.model.status import Completed, Failed
from perdure.model.wire import ResultData, decode_details, decode_raised, decode_start
from perdure.records.instances import InstanceStatus, Message, MessageKind, NewInstance
from perdure.records.limits import ENGINE
from perdure.replay.code_locations import WaitingTask
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.surroundings import Surroundings
from perdure.replay.turn import DraftActivity, TurnDraft
from perdure.runtime.activity_call import ActivityCaller, FailedCall
from perdure.runtime.activity_context import ActivityContext, Cancellation
from perdure.testing.single_activity import NoClient, call_activity

_CLEANUP_TIMEOUT = timedelta(minutes=5)
_NO_VALUES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """Something that may come next."""

    label: str
    """What it is, for people."""
    instance: str
    message: Message | None = None
    activity: DraftActivity | None = None
    """Set for the result of an activity."""

    @property
    def due(self) -> Instant | None:
        """When it fires; None if it is no timer."""
        return None if self.message is None else self.message.visible_at


@dataclass(slots=True, eq=False)
class _Instance:
    new: NewInstance
    execution: Execution
    number: int = 1
    version: str | None = None
    ended: Completed | Failed | None = None
    events: list[Event] = field(default_factory=list[Event])


class Arrivals:
    """See the module. One run: `begin`, then `arrive` with one of `options` until there is none."""

    def __init__(self, catalog: Catalog, resources: object, caller: ActivityCaller) -> None:
        self._catalog = catalog
        self._resources = resources
        self._caller = caller
        self._now = ManualClock().now()
        self._instances: dict[str, _Instance] = {}
        self._pending: list[Arrival] = []
        self._labels: Counter[str] = Counter()
        self._root = ""

    # From outside

    def begin(self, new: NewInstance, raised: Sequence[Message]) -> None:
        """Start the instance, for which these messages may arrive at any time."""
        self._root = new.instance
        self._start(new)
        for message in raised:
            self._expect_message(message)

    @property
    def options(self) -> list[Arrival]:
        """What may arrive next; nothing once the first instance has ended."""
        if self.outcome is not None:
            return []
        timers = [each for each in self._pending if each.due is not None]
        first = min(timers, key=lambda each: each.due or 0, default=None)
        others = [each for each in self._pending if each.due is None]
        return others if first is None else [*others, first]

    async def arrive(self, arrival: Arrival) -> None:
        """Let it arrive, and run what it sets going."""
        self._pending.remove(arrival)
        result = None
        if arrival.activity is not None:
            result = await self._call(arrival.instance, arrival.activity)
        self._deliver(arrival, result)

    @property
    def outcome(self) -> Completed | Failed | None:
        """How the first instance has ended; None if it has not."""
        return self._instances[self._root].ended

    @property
    def waiting(self) -> tuple[WaitingTask, ...]:
        """Where the first instance stands."""
        return self._instances[self._root].execution.waiting

    def discard(self) -> None:
        """Free everything."""
        for each in self._instances.values():
            each.execution.discard()

    # Running

    def _start(self, new: NewInstance) -> None:
        if self._catalog.orchestration(new.name, new.version) is None:
            raise NotRegistered(
                f"orchestration {new.name!r} is not registered; pass the registry that has it"
            )
        instance = _Instance(new, self._execution(new, new.start, 1, new.version))
        self._instances[new.instance] = instance
        self._absorb(instance)

    def _execution(
        self,
        new: NewInstance,
        start: Message,
        number: int,
        version: str | None,
        values: Mapping[str, str] = _NO_VALUES,
    ) -> Execution:
        definition = self._catalog.orchestration(new.name, version)
        assert definition is not None  # noqa: S101 # an execution of it began before
        data = decode_start(start.data)
        started = OrchestrationStarted(
            event_id=1,
            at=self._now,
            instance=new.instance,
            incarnation=new.incarnation,
            execution=number,
            name=new.name,
            version=definition.version,
            input=data.input,
            python=PYTHON,
            engine=ENGINE,
            parent=new.parent,
            seen=data.seen,
            headers=data.headers or None,
            start_at=data.start_at,
            format=FORMAT,
        )
        return Execution.begin(
            started,
            definition,
            self._catalog,
            cleanup_timeout=_CLEANUP_TIMEOUT,
            surroundings=Surroundings(labels=new.labels, inherited=values),
        )

    def _deliver(self, arrival: Arrival, result: ResultData | None) -> None:
        instance = self._instances[arrival.instance]
        if instance.ended is not None:
            return
        if result is not None:
            instance.execution.accept_result(MessageKind.ACTIVITY, result, self._now)
        else:
            message = cast("Message", arrival.message)
            if message.visible_at is not None:
                self._now = max(self._now, message.visible_at)
            instance.execution.accept(message, self._now)
        self._absorb(instance)

    async def _call(self, instance: str, activity: DraftActivity) -> ResultData:
        new, data = self._instances[instance].new, activity.data
        definition = self._catalog.activity(activity.name)
        if definition is None:
            raise NotRegistered(
                f"activity {activity.name!r} is not registered; pass the registry that has it"
            )
        number = self._instances[instance].number
        context: ActivityContext[object] = ActivityContext(
            instance=instance,
            incarnation=new.incarnation,
            execution=number,
            activity_id=activity.id,
            name=definition.name,
            attempt=data.attempt,
            delivery=1,
            idempotency_key=f"{new.incarnation}:{number}:{data.first}",
            client=cast("Client", NoClient("the activity runs without a storage")),
            resources=self._resources,
            cancellation=Cancellation(threading.Lock()),
        )
        outcome = await call_activity(self._caller, definition, data.input, context)
        if isinstance(outcome, FailedCall):
            return ResultData(scheduled=data.event, details=outcome.details)
        return ResultData(scheduled=data.event, result=outcome)

    # What a turn asks for

    def _absorb(self, instance: _Instance) -> None:
        draft = instance.execution.take_turn()
        name = instance.new.instance
        gone = {*draft.cancelled_activities, *draft.removed}
        self._pending = [
            each for each in self._pending if each.instance != name or _id_of(each) not in gone
        ]
        for activity in draft.activities.values():
            self._expect(Arrival(activity.name, name, activity=activity))
        self._expect_timers(draft)
        for child in (*draft.children.values(), *draft.detached):
            if child.instance.instance not in self._instances:
                self._start(child.instance)
            elif child.if_exists is not None:
                self._expect_message(child.if_exists)
        for message in draft.sent:
            self._expect_message(message)
        if draft.end is not None:
            self._end(instance, draft)

    def _expect_timers(self, draft: TurnDraft) -> None:
        purposes = {e.event_id: e for e in draft.events if isinstance(e, TimerCreated)}
        for number, message in draft.timers.items():
            created = purposes[number]
            # The limit of a cleanup counts only where a cleanup hangs.
            if created.purpose != "cleanup":
                left = timedelta(microseconds=created.fire_at - created.at)
                self._expect(Arrival(f"timer of {_spoken(left)}", message.instance, message))

    def _expect_message(self, message: Message) -> None:
        target = self._instances.get(message.instance)
        if target is None or message.incarnation not in (None, target.new.incarnation):
            return
        match message.kind:
            case MessageKind.EVENT:
                label = decode_raised(message.data).name
            case MessageKind.CANCEL:
                label = "cancellation"
            case _:
                label = "end of a child"
        if message.instance != self._root:
            label = f"{label} to {message.instance!r}"
        self._expect(Arrival(label, message.instance, message))

    def _expect(self, arrival: Arrival) -> None:
        self._labels[arrival.label] += 1
        number = self._labels[arrival.label]
        if number > 1:
            label = f"{arrival.label} ({number})"
            arrival = Arrival(label, arrival.instance, arrival.message, arrival.activity)
        self._pending.append(arrival)

    def _end(self, instance: _Instance, draft: TurnDraft) -> None:
        end, name = draft.end, instance.new.instance
        assert end is not None  # noqa: S101 # the caller has seen it
        mine = [each for each in self._pending if each.instance == name]
        self._pending = [each for each in self._pending if each.instance != name]
        values = instance.execution.values
        instance.execution.discard()
        if end.status is InstanceStatus.CONTINUED_AS_NEW:
            kept = [each for each in mine if _outlives(each)]
            self._pending += kept
            self._continue(instance, draft, values)
        elif end.status is InstanceStatus.COMPLETED:
            instance.ended = Completed(output=(end.output or b"null").decode())
        else:
            instance.ended = Failed(details=_details(end.output))

    def _continue(self, instance: _Instance, draft: TurnDraft, values: Mapping[str, str]) -> None:
        start, *carried = draft.front
        instance.number += 1
        instance.version = None if draft.unpin else draft.version
        instance.execution = self._execution(
            instance.new, start, instance.number, instance.version, values
        )
        for message in carried:
            instance.execution.accept(message, self._now)
        self._absorb(instance)


def _id_of(arrival: Arrival) -> str:
    if arrival.activity is not None:
        return arrival.activity.id
    return "" if arrival.message is None else arrival.message.id


def _outlives(arrival: Arrival) -> bool:
    """Whether it counts for the next execution: events and cancellations."""
    kinds = (MessageKind.EVENT, MessageKind.CANCEL)
    return arrival.message is not None and arrival.message.kind in kinds


def _details(output: bytes | None) -> ErrorDetails:
    return decode_details(output or b"")


def _spoken(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return _counted(int(seconds // unit), name)
    return _counted(int(seconds), "second") if seconds == int(seconds) else f"{seconds} seconds"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
