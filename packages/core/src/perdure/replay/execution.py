"""One live execution: from a history and new messages to the commands of the code. No I/O.

One rule makes it deterministic, live and in replay: deliver exactly one incoming event, run the
loop until no callback is ready, record the commands in order; then deliver the next event.

This module knows no provider, clock, lease or host event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Required, TypeAlias, TypedDict, Unpack, cast

from perdure import history
from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import OrchestrationDefinition
from perdure.clock import Instant, to_microseconds
from perdure.diagnostics.failures import describe, ends_the_process
from perdure.history import Event, EventRaised, OrchestrationStarted
from perdure.model.comparison import DEFAULT_COMPARE, Compare
from perdure.model.details import ApplicationFailure, ErrorDetails
from perdure.model.payload import NULL, encode
from perdure.model.wire import ResultData, decode_cancel, decode_raised, decode_result
from perdure.records.instances import Message, MessageKind
from perdure.records.limits import ENGINE_WITH_RECOVERY
from perdure.records.turns import NewChild
from perdure.replay.code_locations import WaitingTask, stacks_of
from perdure.replay.commands import Commands
from perdure.replay.comparing import ValueDifference
from perdure.replay.context import OrchestrationContext
from perdure.replay.inbox import MOST_SEEN
from perdure.replay.loop import EndlessRun, OrchestrationLoop
from perdure.replay.positions import TaskPosition, positions_of
from perdure.replay.present_names import under_present_names
from perdure.replay.signals import HistoryMismatch, UndecodableData
from perdure.replay.surroundings import ALONE, Surroundings
from perdure.replay.transcript import PYTHON
from perdure.replay.turn import TurnDraft, decoded, end_of_work, settle

WHOLE = 1 << 62
"""No limit to the callbacks of a delivery but that of the loop."""
_LARGE = 16 * 1024
"""An input of so many characters is let go of when the code is called."""
STEP = 200
"""How many callbacks a step of long work runs: about two milliseconds."""


class ExecutionSettings(TypedDict, total=False):
    """What every way to make an execution takes."""

    cleanup_timeout: Required[timedelta]
    trace_paths: bool
    compare: Compare
    surroundings: Surroundings


StepEnds: TypeAlias = Callable[[], bool]
"""Says after each event of a replay whether the step ends there."""


def _after_each_event() -> bool:
    return True


def _never() -> bool:
    return False


class Execution:
    """One execution. Create it with `begin` or `rebuild`; use it in one thread."""

    __slots__ = (
        "_cleanup_timeout",
        "_cleanup_timer",
        "_commands",
        "_context",
        "_input",
        "_input_size",
        "_main",
        "_start_timer",
        "_trace_paths",
        "_transcript",
        "definition",
        "given",
        "kept_children",
        "loop",
        "started",
    )

    def __init__(
        self,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        cleanup_timeout: timedelta,
        trace_paths: bool = False,
        compare: Compare = DEFAULT_COMPARE,
        surroundings: Surroundings = ALONE,
    ) -> None:
        self._input = started.input
        """Until the code is called."""
        self.given = self._input_size = len(started.input)
        """How many characters of payloads the code may hold: what it was called with, and what was
        delivered to it since it last asked for work. `was_given` keeps it up."""
        if len(started.input) >= _LARGE:
            # The code has what it was called with; a second copy would stay as long as the execution.
            started = replace(started, input="")
        self.started = started
        """Its first event, without a large input."""
        self.definition = definition
        self._commands = Commands(started, definition, catalog, compare, surroundings)
        self._transcript = self._commands.transcript
        self.loop: OrchestrationLoop = self._commands.loop
        self._context = OrchestrationContext(self._commands)
        self.loop.context = self._context
        self._cleanup_timeout = cleanup_timeout
        self._trace_paths = trace_paths
        self._main: asyncio.Task[object] | None = None
        self._cleanup_timer: int | None = None
        self._start_timer: int | None = None
        self.kept_children: Mapping[int, NewChild] = {}
        """The open children that a copied history started, by the number of their schedule event."""

    @classmethod
    def begin(
        cls,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        most: int = WHOLE,
        **settings: Unpack[ExecutionSettings],
    ) -> Execution:
        """A new execution, run from its start event until it waits, or for so many callbacks."""
        execution = cls(started, definition, catalog, **settings)
        execution._deliver_new(started, most)
        return execution

    @classmethod
    def rebuild(
        cls,
        events: Iterable[Event],
        definition: OrchestrationDefinition,
        catalog: Catalog,
        **settings: Unpack[ExecutionSettings],
    ) -> Execution:
        """The execution as its history left it; `rebuilding` does the same in steps."""
        steps = cls.rebuilding(events, definition, catalog, step_ends=_never, **settings)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return cast("Execution", done.value)

    @classmethod
    def rebuilding(
        cls,
        events: Iterable[Event],
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        step_ends: StepEnds = _after_each_event,
        **settings: Unpack[ExecutionSettings],
    ) -> Generator[None, None, Execution]:
        """Rebuild the execution as its history left it; each step delivers events until `step_ends`.

        It asks after each event, and several times within one that has much to run. `events` is read
        as far as the replay has come; what reading raises is raised here. Between two steps its loop is not entered, and closing the generator frees the execution. If
        values differ from the recorded ones, the recorded ones are used, and `differences` lists
        them. Raises `HistoryMismatch` if the code asks for something else than the history has (or,
        with `compare` "strict", for other values), `UndecodableData` if the history does not begin
        with a start event or has a gap, and `ForbiddenUse` if the code made a forbidden call.
        """
        recorded = iter(events)
        first = next(recorded, None)
        execution = cls(_start_of(first), definition, catalog, **settings)
        whole = chain((first,), recorded) if first is not None else ()
        execution._transcript.begin_replay(under_present_names(whole, catalog))
        yield from execution._replay(step_ends)
        return execution

    @classmethod
    def copying(
        cls,
        events: Sequence[Event],
        definition: OrchestrationDefinition,
        catalog: Catalog,
        *,
        step_ends: StepEnds = _after_each_event,
        **settings: Unpack[ExecutionSettings],
    ) -> Generator[None, None, Execution]:
        """Begin an execution with a history that another one had, in steps as `rebuilding` does.

        `events` has the new execution's own start event, and the kept ones behind it. The turn has
        all of them, the work that is open at their end, and what the code asked for behind it. What
        becomes of open children is left to the caller: see `kept_children`. Raises as `rebuilding`.
        """
        execution = cls(_start_of(events[0] if events else None), definition, catalog, **settings)
        commands = execution._commands
        commands.copied_to = len(events)
        commands.transcript.begin_copy(
            under_present_names(events, catalog), adopts_ids=execution.started.is_fork
        )
        yield from execution._replay(step_ends)
        execution.kept_children = commands.finish_copy()
        return execution

    @property
    def terminal(self) -> Event | None:
        """The event that ended it, or None."""
        return self._transcript.terminal

    @property
    def last_event(self) -> int:
        """The number of the last event, including events of turns that are not committed."""
        return self._transcript.last_event

    @property
    def first_activity(self) -> str | None:
        """The name of the activity that was scheduled first of those under way; None without any."""
        works = self._commands.work.values()
        return next((work.name for work in works if work.kind is MessageKind.ACTIVITY), None)

    @property
    def cancel_reason(self) -> str | None:
        """Why it is being cancelled, or None."""
        return self._commands.cancel_reason

    @property
    def differences(self) -> Sequence[ValueDifference]:
        """The values that differ from the history, for the replay check and the log."""
        return self._transcript.differences

    @property
    def waiting(self) -> tuple[WaitingTask, ...]:
        """Where the code stands: the stack of each task that waits."""
        return stacks_of(self.loop.waiting_tasks())

    def positions(self, events: Sequence[Event]) -> tuple[TaskPosition, ...]:
        """Where each task that has not ended stands; `events` is the whole history."""
        open_work = [work.future for work in self._commands.work.values()]
        waits = [wait.future for wait in self._commands.inbox.waits()]
        return positions_of(
            self.loop.waiting_tasks(),
            events,
            timers=self.loop.timers,
            futures=[future for future in (*open_work, *waits) if future is not None],
        )

    # Driving it

    @property
    def is_quiet(self) -> bool:
        """Whether it waits for the next delivery. If not, `run_on` goes first."""
        return self.loop.is_quiet

    def run_on(self, most: int) -> None:
        """Go on with the last delivery, for so many callbacks at most."""
        self.loop.enter()
        try:
            self._run(most)
        finally:
            self.loop.leave()

    def accept(self, message: Message, now: Instant, most: int = WHOLE) -> bool:
        """Deliver a message and run; returns False if the message no longer matters.

        It runs until it waits, or for so many callbacks; see `is_quiet`. Raises `UndecodableData`
        and leaves the execution unchanged.
        """
        kind = message.kind
        if kind is MessageKind.START:
            return False
        if kind is MessageKind.EVENT:
            return self._accept_event(message, now, most)
        if kind is MessageKind.CANCEL:
            return self.accept_cancel(decoded(message, decode_cancel).reason, now, most)
        result = decoded(message, decode_result)
        if kind is MessageKind.TIMER and message.visible_at is not None:
            # A timer is never early by the history's own time, even if this clock is behind.
            now = max(now, message.visible_at)
        return self.accept_result(kind, result, now, most)

    def accept_result(
        self, kind: MessageKind, data: ResultData, now: Instant, most: int = WHOLE
    ) -> bool:
        """Deliver the end of scheduled work; returns False if the work is no longer under way."""
        commands, scheduled = self._commands, data.scheduled
        work = commands.work.get(scheduled)
        if work is None or work.kind is not kind or self._transcript.terminal is not None:
            return False
        if data.execution is not None and data.execution != self.started.origin(data.scheduled):
            return False  # the answer of a child that another execution has started
        if data.started and not commands.limits_start(scheduled):
            return False
        if data.delivery is not None:
            commands.draft.engine = ENGINE_WITH_RECOVERY
        self._deliver_new(end_of_work(kind, data, commands.next_event, self._time(now)), most)
        return True

    def accept_cancel(self, reason: str, now: Instant, most: int = WHOLE) -> bool:
        """Deliver a request to cancel; returns False after an earlier one, or after the end."""
        if self.terminal is not None or self.cancel_reason is not None:
            return False
        number, at = self._commands.next_event, self._time(now)
        self._deliver_new(history.CancelRequested(event_id=number, at=at, reason=reason), most)
        return True

    def _accept_event(self, message: Message, now: Instant, most: int) -> bool:
        if self.terminal is not None or self._commands.inbox.knows(message.id):
            return False
        data = decoded(message, decode_raised)
        event = EventRaised(
            event_id=self._commands.next_event,
            at=self._time(now),
            name=data.name,
            data=data.data,
            message_id=message.id,
        )
        self._deliver_new(event, most)
        return True

    def fail(self, details: ErrorDetails) -> None:
        """End the execution as Failed, without running its code."""
        self._commands.end(history.OrchestrationFailed, details=details)

    def fail_cleanup(self, details: ErrorDetails) -> None:
        """End a cancelled execution at once, without waiting for its cleanup; an earlier reason counts."""
        if self.cancel_reason is not None:
            self._commands.end_cancelled()
        self.fail(details)

    def was_given(self, size: int, *, asks: bool) -> None:
        """Note how much a turn has delivered, and whether the code asked for work in it."""
        self.given = size + (self._input_size if asks else self.given)

    def take_turn(self) -> TurnDraft:
        """What happened since the last turn was taken.

        Raises `ForbiddenUse` if the code made a forbidden call, or awaits something that cannot come,
        and `UncaughtError` if it raised an error that parks its instance; the turn is void then.
        """
        return self._commands.take_draft()

    def discard(self) -> None:
        """End all tasks without any effect. The execution cannot be used afterwards."""
        self._transcript.closed = True
        self.loop.discard()

    # Values

    @property
    def own_value_count(self) -> int:
        """How many values of the instance this execution has set itself."""
        progress = self._commands.used_progress
        return 0 if progress is None else progress.own_count

    @property
    def values(self) -> Mapping[str, str]:
        """All values of the instance, as JSON texts: the inherited ones, as this execution leaves them."""
        progress = self._commands.used_progress
        return self._commands.surroundings.inherited if progress is None else progress.current

    def inherit(self, values: Mapping[str, str]) -> None:
        """Have the values of the store; a rebuilt execution knows only those that it has set itself."""
        self._commands.progress.inherit(values)

    def restore(self, values: Mapping[str, str | None], status: str | None) -> None:
        """Put back what the dropped part of a history had changed, with this turn."""
        draft = self._commands.draft
        for key, text in values.items():
            draft.values.setdefault(key, None if text is None else text.encode())
        if status is not None and draft.custom_status is None:
            draft.custom_status = status.encode()

    # What a copied history left open

    def create_child(self, number: int) -> None:
        """Start a child of `kept_children` with this turn: there is none."""
        self._commands.draft.children[number] = self.kept_children[number]

    def put_to_front(self, messages: Sequence[Message]) -> None:
        """Put messages into the own mailbox with this turn, ahead of all others."""
        self._commands.draft.front.extend(messages)

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages to other instances with this turn."""
        self._commands.draft.sent.extend(messages)

    # Delivery

    def _replay(self, step_ends: StepEnds) -> Generator[None]:
        transcript = self._transcript
        try:
            while self._replay_step(step_ends):
                yield
        except BaseException as error:
            if isinstance(error, HistoryMismatch):
                error.waiting = self.waiting
            self.discard()
            raise
        finally:
            transcript.end_replay()
        self.loop.is_silent = transcript.closed

    def _replay_step(self, ends: StepEnds) -> bool:
        """Deliver one event and more until the step ends; False at the end of the history."""
        loop, transcript = self.loop, self._transcript
        is_quiet = loop.is_quiet
        loop.enter()
        try:
            while True:
                if not is_quiet:
                    self._run(STEP)
                elif not transcript.read_on():
                    event = transcript.next_incoming()
                    if event is None:
                        return False
                    if transcript.terminal is None:
                        self._deliver(event, STEP)
                is_quiet = loop.is_quiet
                if is_quiet and transcript.forbidden is not None:
                    self._commands.boundary.check()
                if ends():
                    return True
        finally:
            loop.leave()

    def _deliver_new(self, event: Event, most: int) -> None:
        loop = self.loop
        loop.is_silent = False
        self._transcript.events.append(event)
        loop.enter()
        try:
            self._deliver(event, most)
        finally:
            loop.leave()

    def _deliver(self, event: Event, most: int) -> None:
        transcript = self._transcript
        transcript.last_event = transcript.delivered = event.event_id
        self.loop.set_time(event.at)
        if self._commands.later_seeds:
            self._commands.reseed(event.event_id)
        self._run(most, event)

    def _run(self, most: int, event: Event | None = None) -> None:
        """Hand the event over and run; the loop is entered."""
        try:
            if event is not None:
                self._hand_over(event)
            self.loop.run_until_quiet(most)
        except EndlessRun as endless:
            self._end_failed(endless)

    def _hand_over(self, event: Event) -> None:
        if type(event) in _ENDS_OF_WORK:
            self._deliver_end_of_work(event, event.scheduled)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] # all of them have it
            return
        match event:
            case OrchestrationStarted():
                self._deliver_start(event)
            case EventRaised():
                self._commands.deliver_event(event)
            case history.CancelRequested():
                self._deliver_cancel(event)
            case history.ActivityStarted():
                self._commands.end_start_limit(event.scheduled)
            case _:
                raise AssertionError(event)

    def _time(self, now: Instant) -> Instant:
        """The time of the next event: the history's time never steps back, even if clocks do."""
        last = self.loop.now
        return now if now > last else last

    def _deliver_start(self, event: OrchestrationStarted) -> None:
        if event.start_at is not None and event.start_at > event.at:
            self._start_timer = self._commands.create_start_timer(event.start_at)
        else:
            self._call()

    def _call(self) -> None:
        """Call the orchestration."""
        # In a context of its own, because the context variables of the host differ from run to run.
        self._main = self.loop.create_task(
            self._run_main(), name="orchestration", context=contextvars.Context()
        )
        self._main.add_done_callback(self._main_done)

    async def _run_main(self) -> object:
        return await self._function_called()

    def _function_called(self) -> Awaitable[object]:
        """The coroutine of the code. Only it has the input then, which may be large."""
        parameters, text = self.definition.reference.parameters, self._input
        self._input = ""
        if not parameters.types and self.started.format == history.FIRST_FORMAT:
            # Version 0.1.0 left out an input that nothing takes, and its histories go on so.
            text = NULL
        args, kwargs = parameters.decode(text, f"orchestration {self.definition.name!r}")
        return self.definition.function(self._context, *args, **kwargs)

    def _deliver_end_of_work(self, event: Event, scheduled: int) -> None:
        commands = self._commands
        work = commands.work.pop(scheduled, None)
        if work is not None and work.future is not None:
            if commands.start_limits:
                commands.end_start_limit(scheduled)
            settle(work, work.future, event)
        elif scheduled == self._cleanup_timer:
            commands.end_cancelled()
        elif scheduled == self._start_timer:
            self._call()
        elif not (commands.start_limits and commands.reached_start_limit(scheduled)):
            self.loop.fire(scheduled)

    def _deliver_cancel(self, event: history.CancelRequested) -> None:
        self._commands.cancel_reason = event.reason
        if self._main is None:  # its code was never called, and has nothing to clean up
            self._commands.end_cancelled()
            return
        limit = event.at + to_microseconds(self._cleanup_timeout)
        self._cleanup_timer = self._commands.own_timer(limit, "cleanup")
        self._main.cancel(event.reason)

    # The end

    def _main_done(self, main: asyncio.Future[object]) -> None:
        if self._transcript.closed:
            return
        if self.cancel_reason is not None:
            if not main.cancelled() and (lost := main.exception()) is not None:
                self._commands.log.lost_in_cleanup(lost)
            self._commands.end_cancelled()
            return
        try:
            error = main.exception()
        except asyncio.CancelledError as raised:  # raised by the orchestration's own code
            error = raised
        if error is None:
            try:
                output = self._output(main.result())
            except BaseException as refused:
                if ends_the_process(refused):
                    raise
                error = refused
            else:
                self._commands.end(history.OrchestrationCompleted, output=output)
                return
        self._end_failed(error)

    def _output(self, value: object) -> str:
        definition = self.definition
        return encode(
            value, definition.reference.result_type, what=f"output of {definition.name!r}"
        )

    def _end_failed(self, error: BaseException) -> None:
        details = ApplicationFailure(describe(error, paths=self._trace_paths))
        if self._commands.parks(error):
            self._commands.park(details)
        else:
            self.fail(details)


__all__ = ["MOST_SEEN", "PYTHON", "Execution"]


_ENDS_OF_WORK = frozenset(
    (
        history.ActivityCompleted,
        history.ActivityFailed,
        history.TimerFired,
        history.ChildCompleted,
        history.ChildFailed,
        history.ChildRefused,
    )
)


def _start_of(first: Event | None) -> OrchestrationStarted:
    if not isinstance(first, OrchestrationStarted):
        raise UndecodableData("the history does not begin with OrchestrationStarted")
    return first
