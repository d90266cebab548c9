"""One live execution: given its history and new messages, it says what to do next. No I/O.

The rule that makes it deterministic: deliver exactly one incoming event, run the loop until it is
quiet, note the commands in order; repeat; live and in replay alike. In replay every command is
compared with the history at the moment the code asks for it, so that a difference is found at the
first differing command, with the user's line at hand.

What this module does not know: providers, clocks, leases, the host's event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from perdure import history
from perdure.clock import Instant, to_microseconds
from perdure.contract.records import (
    ENGINE,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    NewInstance,
    ParentLink,
)
from perdure.details import ApplicationFailure, Cancelled, ErrorDetails
from perdure.errors import (
    ActivityFailed,
    ForbiddenInOrchestration,
    InvalidInput,
    InvalidPayload,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
)
from perdure.history import INCOMING, Event, EventRaised, OrchestrationStarted
from perdure.identifiers import child_incarnation
from perdure.payload import decode, encode
from perdure.raised import describe
from perdure.registry import Catalog, OrchestrationDefinition
from perdure.replay.context import OrchestrationContext
from perdure.replay.futures import ScheduledFuture
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.signals import ExecutionEnded, HistoryMismatch, UndecodableData
from perdure.replay.turn import TurnDraft
from perdure.wire import (
    ActivityData,
    CancelData,
    EventData,
    ResultData,
    StartData,
    decode_cancel,
    decode_raised,
    decode_result,
    encode_activity,
    encode_cancel,
    encode_details,
    encode_raised,
    encode_result,
    encode_start,
)

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MOST_SEEN = 1000
"""How many ids of delivered events the next execution is told."""

_OWN_CODE = (str(Path(__file__).parent), str(Path(asyncio.__file__).parent))


@dataclass(slots=True)
class _Work:
    """Scheduled work that has not ended: who waits for it, and how its result is understood."""

    future: ScheduledFuture[Any] | None
    kind: MessageKind
    name: str = ""
    result_type: object = Any
    child: str = ""
    """The child's instance id."""


class Execution:
    """See the module. Made by `begin` or `rebuild`; used by one thread."""

    def __init__(
        self,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        cleanup_timeout: timedelta,
        trace_paths: bool = False,
    ) -> None:
        self.started = started
        self.definition = definition
        self.catalog = catalog
        self.last_event = 0
        self.terminal: Event | None = None
        self.replaying = False
        self.loop = OrchestrationLoop(
            f"{started.instance}/{started.incarnation}/{started.execution}", self
        )
        self._cleanup_timeout = cleanup_timeout
        self._trace_paths = trace_paths
        self._context = OrchestrationContext(self)
        self._main: asyncio.Task[object] | None = None
        self._work: dict[int, _Work] = {}
        self._waits: dict[str, deque[ScheduledFuture[Any]]] = {}
        self._wait_types: dict[int, tuple[str, object]] = {}
        self._buffered: dict[str, deque[EventRaised]] = {}
        self._event_ids: set[str] = set(started.seen)
        self._delivered: deque[str] = deque(started.seen, maxlen=MOST_SEEN)
        self._cancel_reason: str | None = None
        self._cleanup_timer: int | None = None
        self._history: Sequence[Event] = ()
        self._cursor = 0
        self._mismatch: HistoryMismatch | None = None
        self._discarded = False
        self._draft = TurnDraft()
        self._seed = f"{started.incarnation}/{started.execution}"
        self._uuids = 0
        self._random: random.Random | None = None

    # Driving it

    @classmethod
    def rebuild(
        cls,
        events: Sequence[Event],
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        cleanup_timeout: timedelta,
        trace_paths: bool = False,
    ) -> Execution:
        """The execution as its history left it.

        Raises `HistoryMismatch` where the code disagrees with it, `UndecodableData` where it
        does not begin with a start event.
        """
        if not events or not isinstance(events[0], OrchestrationStarted):
            raise UndecodableData("the history does not begin with OrchestrationStarted")
        execution = cls(
            events[0], definition, catalog, cleanup_timeout=cleanup_timeout, trace_paths=trace_paths
        )
        execution._replay(events)
        return execution

    @classmethod
    def begin(
        cls,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        cleanup_timeout: timedelta,
        trace_paths: bool = False,
    ) -> Execution:
        """A new execution, run from its start event until it is quiet."""
        execution = cls(
            started, definition, catalog, cleanup_timeout=cleanup_timeout, trace_paths=trace_paths
        )
        execution._deliver_new(started)
        return execution

    def accept(self, message: Message, now: Instant) -> bool:
        """Deliver a message and run until quiet; False where it is of no interest any more.

        Raises `UndecodableData`; the execution is as before then.
        """
        try:
            match message.kind:
                case MessageKind.EVENT:
                    return self._accept_event(message, now)
                case MessageKind.CANCEL:
                    return self.accept_cancel(decode_cancel(message.data).reason, now)
                case MessageKind.ACTIVITY | MessageKind.CHILD | MessageKind.TIMER:
                    # A timer is never early by the history's own time, whatever the clocks say.
                    due = message.visible_at or now if message.kind is MessageKind.TIMER else now
                    return self.accept_result(
                        message.kind, decode_result(message.data), max(now, due)
                    )
                case MessageKind.START:
                    return False
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise UndecodableData(
                f"message {message.id!r} of kind {message.kind} cannot be decoded: {error}"
            ) from error

    def accept_result(self, kind: MessageKind, data: ResultData, now: Instant) -> bool:
        """Deliver the end of scheduled work; False where nobody waits for it any more."""
        work = self._work.get(data.scheduled)
        if self.terminal is not None or work is None or work.kind is not kind:
            return False
        number, scheduled = self.last_event + 1, data.scheduled
        at = self._time(now)
        event: Event
        if kind is MessageKind.TIMER:
            event = history.TimerFired(event_id=number, at=at, scheduled=scheduled)
        elif kind is MessageKind.ACTIVITY:
            event = (
                history.ActivityFailed(
                    event_id=number, at=at, scheduled=scheduled, details=data.details
                )
                if data.details is not None
                else history.ActivityCompleted(
                    event_id=number, at=at, scheduled=scheduled, result=data.result or "null"
                )
            )
        elif data.details is not None:
            event = history.ChildFailed(
                event_id=number, at=at, scheduled=scheduled, details=data.details
            )
        elif data.result is not None:
            event = history.ChildCompleted(
                event_id=number, at=at, scheduled=scheduled, result=data.result
            )
        else:
            event = history.ChildRefused(event_id=number, at=at, scheduled=scheduled)
        self._deliver_new(event)
        return True

    def accept_cancel(self, reason: str, now: Instant) -> bool:
        """Deliver a request to cancel; False where there was one, or the end came before."""
        if self.terminal is not None or self._cancel_reason is not None:
            return False
        self._deliver_new(
            history.CancelRequested(event_id=self.last_event + 1, at=self._time(now), reason=reason)
        )
        return True

    def fail(self, details: ErrorDetails) -> None:
        """End the execution as Failed, whatever its code would say."""
        if self.terminal is None:
            self._end(history.OrchestrationFailed, details=details)

    def take_turn(self) -> TurnDraft:
        """What happened since the last turn was taken."""
        draft, self._draft = self._draft, TurnDraft()
        return draft

    def discard(self) -> None:
        """Free it: end all tasks without any effect. It cannot be used afterwards."""
        self._discarded = True
        self.loop.discard()

    @property
    def cancel_reason(self) -> str | None:
        """Why it is being cancelled, where it is."""
        return self._cancel_reason

    # What the context asks for

    @property
    def closed(self) -> bool:
        """Whether nothing that is asked for has an effect any more."""
        return self.terminal is not None or self._mismatch is not None or self._discarded

    def require_running(self, call: str) -> None:
        """Raise `ForbiddenInOrchestration` unless the orchestration's own code is running."""
        if not self.loop.is_running():
            raise ForbiddenInOrchestration(
                f"{call} was called outside the run of its orchestration {self.definition.name!r};"
                " use the context only in the orchestration's own code"
            )

    def schedule_activity(
        self, name: str, input: str, result_type: object, *, tag: str | None, attempt: int, first: int | None = None
    ) -> ScheduledFuture[Any]:
        """Ask for an activity; `first` is the schedule event of its first attempt."""
        number = self._ask(
            history.ActivityScheduled, name=name, input=input, attempt=attempt, tag=tag
        )
        if not self.replaying and not self.closed:
            self._draft.activities[number] = NewActivity(
                id=self.activity_id(number),
                name=name,
                tag=tag,
                data=encode_activity(ActivityData(
                        input=input, event=number, attempt=attempt, first=first or number
                    )),
            )
        work = _Work(self._future(number), MessageKind.ACTIVITY, name, result_type)
        return self._register(number, work)

    def schedule_timer(self, fire_at: Instant) -> ScheduledFuture[None]:
        """Ask for a timer as a future."""
        number = self._create_timer(fire_at, "sleep")
        return self._register(number, _Work(self._future(number), MessageKind.TIMER))

    def schedule_child(
        self, name: str, version: str | None, input: str, instance: str, result_type: object
    ) -> ScheduledFuture[Any]:
        """Ask for a child."""
        number = self._ask(
            history.ChildScheduled, instance=instance, name=name, input=input, version=version
        )
        if not self.replaying and not self.closed:
            self._draft.children[number] = NewChild(
                instance=self._new_instance(instance, name, version, input, number, child=True),
                if_exists=Message(
                    id=f"refused:{self.started.execution}:{number}",
                    instance=self.started.instance,
                    incarnation=self.started.incarnation,
                    execution=self.started.execution,
                    kind=MessageKind.CHILD,
                    data=encode_result(ResultData(scheduled=number)),
                ),
            )
        work = _Work(self._future(number), MessageKind.CHILD, name, result_type, instance)
        return self._register(number, work)

    def schedule_detached(self, name: str, version: str | None, input: str, instance: str) -> None:
        """Start another orchestration that goes its own way."""
        number = self._ask(
            history.DetachedScheduled, instance=instance, name=name, input=input, version=version
        )
        if not self.replaying and not self.closed:
            self._draft.detached.append(
                NewChild(
                    instance=self._new_instance(instance, name, version, input, number, child=False)
                )
            )

    def schedule_wait(self, name: str, result_type: object) -> ScheduledFuture[Any]:
        """Wait for the next external event of this name."""
        number = self._ask(history.WaitCreated, name=name)
        future: ScheduledFuture[Any] = self._future(number)
        if self.closed:
            return future
        self._wait_types[number] = (name, result_type)
        buffered = self._buffered.get(name)
        if buffered:
            self._hand_over(buffered.popleft(), future)
            if not buffered:
                del self._buffered[name]
        else:
            self._waits.setdefault(name, deque()).append(future)
        return future

    def continue_as_new(self, input: str, version: str | None) -> None:
        """Decide that the next execution begins; a cancellation stands above it."""
        if self.closed:
            return
        if self._cancel_reason is not None:
            self._end_cancelled()
        else:
            self._end(history.OrchestrationContinuedAsNew, input=input, version=version)

    @property
    def next_event(self) -> int:
        """The number that the next command will have."""
        return self.last_event + 1

    def uuid(self) -> UUID:
        """The next UUID of the execution's own sequence."""
        self._uuids += 1
        digest = hashlib.blake2b(f"{self._seed}/uuid/{self._uuids}".encode(), digest_size=16)
        return UUID(bytes=digest.digest(), version=4)

    def random(self) -> random.Random:
        """The execution's own source of random numbers."""
        if self._random is None:
            self._random = self.random_stream("random")
        return self._random

    def random_stream(self, name: str) -> random.Random:
        """A source of random numbers that this name and the execution seed."""
        return random.Random(f"{self._seed}/{name}")  # noqa: S311 # replayed, not secret

    def activity_id(self, number: int) -> str:
        """The id under which the activity of a schedule event is queued."""
        return f"{self.started.execution}:{number}"

    # What the loop and the futures ask for

    def create_timer(self, fire_at: Instant) -> int:
        """For the loop: a timer that makes a callback ready."""
        number = self._create_timer(fire_at, "sleep")
        if not self.closed:
            self._work[number] = _Work(None, MessageKind.TIMER)
        return number

    def cancel_timer(self, scheduled: int) -> None:
        """For the loop: the callback is not wanted any more."""
        self.work_cancelled(scheduled)

    def work_cancelled(self, scheduled: int) -> None:
        """The work of this schedule event is not wanted any more."""
        if self.closed:
            return
        if scheduled in self._wait_types:
            self._ask(history.WorkCancelled, scheduled=scheduled)
            self._forget_wait(scheduled)
            return
        work = self._work.pop(scheduled, None)
        if work is None:
            return
        self._ask(history.WorkCancelled, scheduled=scheduled)
        if not self.replaying and not self.closed:
            self._undo(scheduled, work)

    # Delivery

    def _replay(self, events: Sequence[Event]) -> None:
        self.replaying = True
        self._history = events
        try:
            while self._cursor < len(events):
                event = events[self._cursor]
                if event.event_id != self.last_event + 1:
                    raise UndecodableData(
                        f"the history has event {event.event_id} where {self.last_event + 1} is due"
                    )
                if not isinstance(event, INCOMING) or self.terminal is not None:
                    raise self._difference(event, "nothing", "")
                self._cursor += 1
                self._deliver(event)
                if self._mismatch is not None:
                    raise self._mismatch
        except BaseException:
            self.discard()
            raise
        finally:
            self._history = ()
            self.replaying = False
            self.loop.quiet = False

    def _deliver_new(self, event: Event) -> None:
        self.loop.quiet = False
        self._draft.events.append(event)
        self._deliver(event)

    def _deliver(self, event: Event) -> None:
        self.last_event = event.event_id
        self.loop.set_time(event.at)
        getattr(self, _DELIVERIES[type(event)])(event)
        if self.terminal is None:
            self.loop.run_until_quiet()

    def _time(self, now: Instant) -> Instant:
        """The history's own time never goes back, whatever the clocks of its runtimes say."""
        return max(now, self.loop.now)

    def _deliver_start(self, event: OrchestrationStarted) -> None:
        self._main = self.loop.create_task(self._run_main(event), name="orchestration")
        self._main.add_done_callback(self._main_done)

    async def _run_main(self, event: OrchestrationStarted) -> object:
        reference = self.definition.reference
        if not reference.takes_input:
            return await self.definition.function(self._context)
        value = decode(event.input, reference.input_type, what=f"input of {self.definition.name!r}")
        return await self.definition.function(self._context, value)

    def _deliver_activity_completed(self, event: history.ActivityCompleted) -> None:
        work = self._work.pop(event.scheduled, None)
        if work is not None:
            self._resolve(work, event.result, f"result of activity {work.name!r}")

    def _deliver_activity_failed(self, event: history.ActivityFailed) -> None:
        work = self._work.pop(event.scheduled, None)
        if work is not None and work.future is not None:
            work.future.fail(ActivityFailed(work.name, event.details))

    def _deliver_child_completed(self, event: history.ChildCompleted) -> None:
        work = self._work.pop(event.scheduled, None)
        if work is not None:
            self._resolve(work, event.result, f"result of sub-orchestration {work.name!r}")

    def _deliver_child_failed(self, event: history.ChildFailed) -> None:
        work = self._work.pop(event.scheduled, None)
        if work is not None and work.future is not None:
            work.future.fail(SubOrchestrationFailed(work.child, work.name, event.details))

    def _deliver_child_refused(self, event: history.ChildRefused) -> None:
        work = self._work.pop(event.scheduled, None)
        if work is not None and work.future is not None:
            work.future.fail(SubOrchestrationAlreadyExists(work.child, work.name))

    def _deliver_timer(self, event: history.TimerFired) -> None:
        work = self._work.pop(event.scheduled, None)
        if event.scheduled == self._cleanup_timer:
            self._end_cancelled()
        elif work is not None and work.future is not None:
            work.future.set_result(None)
        else:
            self.loop.fire(event.scheduled)

    def _deliver_event(self, event: EventRaised) -> None:
        self._event_ids.add(event.message_id)
        waits = self._waits.get(event.name)
        if waits:
            future = waits.popleft()
            if not waits:
                del self._waits[event.name]
            self._hand_over(event, future)
        else:
            self._buffered.setdefault(event.name, deque()).append(event)

    def _deliver_cancel(self, event: history.CancelRequested) -> None:
        self._cancel_reason = event.reason
        limit = event.at + to_microseconds(self._cleanup_timeout)
        self._cleanup_timer = self._create_timer(limit, "cleanup")
        self._work[self._cleanup_timer] = _Work(None, MessageKind.TIMER)
        if self._main is not None:
            self._main.cancel(event.reason)

    def _accept_event(self, message: Message, now: Instant) -> bool:
        if self.terminal is not None or message.id in self._event_ids:
            return False
        data = decode_raised(message.data)
        self._deliver_new(
            EventRaised(
                event_id=self.last_event + 1,
                at=self._time(now),
                name=data.name,
                data=data.data,
                message_id=message.id,
            )
        )
        return True

    def _hand_over(self, event: EventRaised, future: ScheduledFuture[Any]) -> None:
        _, result_type = self._wait_types.pop(future.scheduled)
        self._delivered.append(event.message_id)
        self._settle(future, event.data, result_type, f"data of event {event.name!r}")

    def _resolve(self, work: _Work, text: str, what: str) -> None:
        if work.future is not None:
            self._settle(work.future, text, work.result_type, what)

    @staticmethod
    def _settle(future: ScheduledFuture[Any], text: str, result_type: object, what: str) -> None:
        if future.done():
            return
        try:
            value = decode(text, result_type, what=what)
        except InvalidPayload as error:
            future.fail(error)
        else:
            future.set_result(value)

    # Commands

    def _ask(self, kind: type[Event], **fields: object) -> int:
        """Note a command, or in replay compare it with the history; returns its number."""
        if self.closed:
            return self.last_event
        number = self.last_event + 1
        if self.replaying:
            self._compare(number, kind, fields)
        else:
            make = cast("Callable[..., Event]", kind)
            self._draft.events.append(make(event_id=number, at=self.loop.now, **fields))
        self.last_event = number
        return number

    def _compare(self, number: int, kind: type[Event], fields: dict[str, object]) -> None:
        found = _show(kind, fields)
        if self._cursor >= len(self._history):
            self._mismatch = self._difference(None, found, self._where())
        else:
            expected = self._history[self._cursor]
            if type(expected) is not kind or any(
                getattr(expected, name) != value
                for name, value in fields.items()
                if not (name == "fire_at" and fields.get("purpose") == "cleanup")
            ):
                self._mismatch = self._difference(expected, found, self._where())
        self._cursor += 1
        if self._mismatch is not None:
            self.loop.halt()

    def _difference(self, expected: Event | None, found: str, where: str) -> HistoryMismatch:
        number = expected.event_id if expected is not None else self.last_event + 1
        has = "nothing" if expected is None else _show_event(expected)
        at = f" at {where}" if where else ""
        python = (
            f"; the history began on Python {self.started.python}, this is {PYTHON}"
            if self.started.python != PYTHON
            else ""
        )
        message = (
            f"event {number} of instance {self.started.instance!r}: the history has {has}, and the"
            f" code of {self.definition.name!r} version {self.definition.version} asked for"
            f" {found}{at}{python}; deploy the code that wrote this history, or register the"
            " changed code under a new version"
        )
        return HistoryMismatch(message, event_id=number, expected=has, found=found, where=where)

    def _where(self) -> str:
        """The innermost line of the user's own code."""
        frame = inspect.currentframe()
        while frame is not None:
            if not frame.f_code.co_filename.startswith(_OWN_CODE):
                if frame.f_code.co_qualname.startswith("OrchestrationLoop."):
                    break
                name = frame.f_globals.get("__name__", "?")
                return f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"
            if frame.f_code is OrchestrationLoop.run_until_quiet.__code__:
                break
            frame = frame.f_back
        return f"a retry within {self.definition.name!r}"

    def _create_timer(self, fire_at: Instant, purpose: str) -> int:
        number = self._ask(history.TimerCreated, fire_at=fire_at, purpose=purpose)
        if not self.replaying and not self.closed:
            self._draft.timers[number] = Message(
                id=self._timer_id(number),
                instance=self.started.instance,
                incarnation=self.started.incarnation,
                execution=self.started.execution,
                kind=MessageKind.TIMER,
                visible_at=fire_at,
                data=encode_result(ResultData(scheduled=number)),
            )
        return number

    def _timer_id(self, number: int) -> str:
        return f"timer:{self.started.execution}:{number}"

    def _future(self, number: int) -> ScheduledFuture[Any]:
        return ScheduledFuture[Any](loop=self.loop, port=self, scheduled=number)

    def _register(self, number: int, work: _Work) -> ScheduledFuture[Any]:
        future = work.future
        assert future is not None  # noqa: S101 # made by the callers above
        if not self.closed:
            self._work[number] = work
        return future

    def _forget_wait(self, scheduled: int) -> None:
        name, _ = self._wait_types.pop(scheduled)
        waits = self._waits.get(name)
        if waits is not None:
            remaining = deque(future for future in waits if future.scheduled != scheduled)
            if remaining:
                self._waits[name] = remaining
            else:
                del self._waits[name]

    def _undo(self, scheduled: int, work: _Work) -> None:
        """Take back the effect: nothing is left where it was asked for in the same turn."""
        draft = self._draft
        if work.kind is MessageKind.ACTIVITY:
            if draft.activities.pop(scheduled, None) is None:
                draft.cancelled_activities.append(self.activity_id(scheduled))
        elif work.kind is MessageKind.TIMER:
            if draft.timers.pop(scheduled, None) is None:
                draft.removed.append(self._timer_id(scheduled))
        elif draft.children.pop(scheduled, None) is None:
            draft.sent.append(
                self._cancel_child(scheduled, work.child, "the parent does not wait any more")
            )

    def _cancel_child(self, scheduled: int, child: str, reason: str) -> Message:
        return Message(
            id="cancel",
            instance=child,
            incarnation=child_incarnation(
                self.started.incarnation, self.started.execution, scheduled
            ),
            kind=MessageKind.CANCEL,
            data=encode_cancel(CancelData(reason=reason)),
        )

    def _new_instance(
        self, instance: str, name: str, version: str | None, input: str, number: int, *, child: bool
    ) -> NewInstance:
        started = self.started
        incarnation = child_incarnation(started.incarnation, started.execution, number)
        return NewInstance(
            instance=instance,
            incarnation=incarnation,
            name=name,
            version=version,
            engine=ENGINE,
            parent=ParentLink(
                instance=started.instance,
                incarnation=started.incarnation,
                execution=started.execution,
                event=number,
            )
            if child
            else None,
            start=Message(
                id=f"start:{incarnation}",
                instance=instance,
                incarnation=incarnation,
                kind=MessageKind.START,
                data=encode_start(StartData(input=input)),
            ),
        )

    # The end

    def _main_done(self, task: asyncio.Future[object]) -> None:
        if self.closed:
            return
        if self._cancel_reason is not None:
            self._end_cancelled()
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            try:
                output = encode(
                    task.result(),
                    self.definition.reference.output_type,
                    what=f"output of {self.definition.name!r}",
                )
            except InvalidInput as refused:
                error = refused
            else:
                self._end(history.OrchestrationCompleted, output=output)
                return
        self._end(
            history.OrchestrationFailed,
            details=ApplicationFailure(describe(error, paths=self._trace_paths)),
        )

    def _end_cancelled(self) -> None:
        self._end(
            history.OrchestrationFailed,
            details=ApplicationFailure(Cancelled(reason=self._cancel_reason or "")),
        )

    def _end(self, kind: type[Event], **fields: object) -> None:
        number = self._ask(kind, **fields)
        self.loop.halt()
        if self._mismatch is not None:
            return
        if self.replaying:
            self.terminal = self._history[self._cursor - 1]
            return
        self.terminal = self._draft.events[-1]
        assert self.terminal.event_id == number  # noqa: S101 # the command was noted just now
        self._settle_turn(self.terminal)

    def _settle_turn(self, terminal: Event) -> None:
        """What the end means for everything that is still under way."""
        draft = self._draft
        reason = "the parent ended"
        if self._cancel_reason is not None:
            reason = self._cancel_reason
        for scheduled, work in self._work.items():
            if work.kind is MessageKind.CHILD and scheduled not in draft.children:
                draft.sent.append(self._cancel_child(scheduled, work.child, reason))
        draft.activities.clear()
        draft.timers.clear()
        draft.children.clear()
        match terminal:
            case history.OrchestrationCompleted(output=output):
                draft.end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=output.encode())
                self._tell_parent(output, None)
            case history.OrchestrationFailed(details=details):
                draft.end = ExecutionEnd(
                    status=InstanceStatus.FAILED, output=encode_details(details)
                )
                self._tell_parent(None, details)
            case history.OrchestrationContinuedAsNew(input=input, version=version):
                draft.end = ExecutionEnd(
                    status=InstanceStatus.CONTINUED_AS_NEW, output=input.encode()
                )
                draft.version, draft.unpin = version, version is None
                self._carry_on(input)
            case _:
                raise AssertionError(terminal)

    def _tell_parent(self, result: str | None, details: ErrorDetails | None) -> None:
        parent = self.started.parent
        if parent is None:
            return
        self._draft.sent.append(
            Message(
                id=f"child:{parent.execution}:{parent.event}",
                instance=parent.instance,
                incarnation=parent.incarnation,
                execution=parent.execution,
                kind=MessageKind.CHILD,
                data=encode_result(
                    ResultData(scheduled=parent.event, result=result, details=details)
                ),
            )
        )

    def _carry_on(self, input: str) -> None:
        """The next start, and behind it the events that nobody waited for, in their order."""
        started = self.started
        unread = sorted(
            (event for events in self._buffered.values() for event in events),
            key=lambda event: event.event_id,
        )
        self._draft.front.append(
            Message(
                id=f"start:{started.incarnation}:{started.execution + 1}",
                instance=started.instance,
                incarnation=started.incarnation,
                kind=MessageKind.START,
                data=encode_start(StartData(input=input, seen=tuple(self._delivered))),
            )
        )
        self._draft.front.extend(
            Message(
                id=event.message_id,
                instance=started.instance,
                kind=MessageKind.EVENT,
                data=encode_raised(EventData(name=event.name, data=event.data)),
            )
            for event in unread
        )


_DELIVERIES: dict[type[Event], str] = {
    OrchestrationStarted: "_deliver_start",
    history.ActivityCompleted: "_deliver_activity_completed",
    history.ActivityFailed: "_deliver_activity_failed",
    history.TimerFired: "_deliver_timer",
    EventRaised: "_deliver_event",
    history.ChildCompleted: "_deliver_child_completed",
    history.ChildFailed: "_deliver_child_failed",
    history.ChildRefused: "_deliver_child_refused",
    history.CancelRequested: "_deliver_cancel",
}


def _show(kind: type[Event], fields: dict[str, object]) -> str:
    """A command for a message: its kind and name; of its input a digest, for it may be secret."""
    shown: list[str] = []
    for name, value in fields.items():
        if name == "input":
            digest = hashlib.blake2b(str(value).encode(), digest_size=4).hexdigest()
            shown.append(f"input #{digest}")
        elif name == "details":
            shown.append(repr(cast("ErrorDetails", value).display_message()))
        elif value is not None:
            shown.append(f"{name}={value!r}")
    return f"{kind.__name__}({', '.join(shown)})"


def _show_event(event: Event) -> str:
    fields = {
        name: getattr(event, name)
        for name in event.__dataclass_fields__
        if name not in ("event_id", "at")
    }
    return _show(type(event), fields)


__all__ = ["MOST_SEEN", "PYTHON", "Execution", "ExecutionEnded"]
