"""The commands of an orchestration: each call becomes a command, whose effect goes to the draft.

Nothing is carried out here. An effect that is undone in the same turn never appears: an activity
that is scheduled and cancelled between two commits is not queued at all. In replay, and after the
end of the execution, a command has no effect.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from perdure import history
from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import OrchestrationDefinition, inner_function
from perdure.authoring.retry import RetryPolicy
from perdure.clock import Instant, to_microseconds
from perdure.diagnostics.failures import not_begun
from perdure.diagnostics.logs import trace_text
from perdure.errors import ActivityTimeout, ForbiddenInOrchestration
from perdure.history import Event, OrchestrationStarted, Seed
from perdure.model.comparison import DEFAULT_COMPARE, Compare
from perdure.model.details import ApplicationFailure, Cancelled, ErrorDetails
from perdure.model.guards import forbid
from perdure.model.wire import ActivityData, encode_details
from perdure.records.instances import InstanceStatus, MessageKind
from perdure.records.limits import ENGINE_WITH_PATCHES, ENGINE_WITH_RECOVERY
from perdure.records.turns import ExecutionEnd, NewChild
from perdure.replay.boundary import Boundary
from perdure.replay.event_commands import EventCommands
from perdure.replay.execution_log import ExecutionLog
from perdure.replay.futures import PatientFuture, ScheduledFuture
from perdure.replay.inbox import EventInbox
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.outgoing import Outgoing
from perdure.replay.progress import Progress
from perdure.replay.randomness import Randomness
from perdure.replay.recorded_policy import policy_of, policy_text, with_policy
from perdure.replay.retrying import Attempts
from perdure.replay.signals import UncaughtError
from perdure.replay.surroundings import ALONE, Surroundings
from perdure.replay.transcript import Transcript
from perdure.replay.turn import TurnDraft, Work
from perdure.replay.unawaited import promised, unawaited

_FORMAT_WITH_POLICIES: Final = 2


class Commands(EventCommands):
    """Takes the commands of the context, the timers of the loop, and cancellations of futures."""

    __slots__ = (
        "_compare",
        "_draft",
        "_ending",
        "_patches",
        "_progress",
        "_uncaught",
        "boundary",
        "cancel_reason",
        "catalog",
        "copied_to",
        "definition",
        "later_seeds",
        "log",
        "loop",
        "randomness",
        "start_limits",
        "started",
        "surroundings",
        "work",
    )

    def __init__(
        self,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        catalog: Catalog,
        compare: Compare = DEFAULT_COMPARE,
        surroundings: Surroundings = ALONE,
    ) -> None:
        self.started = started
        self.surroundings = surroundings
        self.definition = definition
        self.catalog = catalog
        self.outgoing = Outgoing(
            started.instance,
            started.incarnation,
            started.execution,
            started.parent,
            None if started.lineage is None else started.origin,
            surroundings.labels,
            started.headers,
        )
        # A rewound execution and a fork begin with the history of another, and repeat its choices.
        seed = started if started.seeds is None else started.seeds[0]
        self.loop = OrchestrationLoop(f"{seed.instance}/{seed.incarnation}/{seed.execution}", self)
        code = f"{definition.name!r} version {definition.version}"
        self._compare: Compare = definition.compare or compare
        self.transcript = Transcript(started, code, self.loop, self._compare_of)
        home = getattr(inner_function(definition.function), "__module__", "")
        self.boundary = Boundary(self.transcript, self.loop, started.instance, home)
        self.log = ExecutionLog(started, self.transcript)
        self.randomness = Randomness(f"{seed.incarnation}/{seed.execution}")
        self.later_seeds: tuple[Seed, ...] = (started.seeds or ())[1:]
        self.inbox = EventInbox(started.seen)
        self.work: dict[int, Work] = {}
        """By the number of the schedule event."""
        self._ending: set[int] | None = None
        """Activities that were asked to end, by the number of the schedule event."""
        self._uncaught: UncaughtError | None = None
        self.start_limits: dict[int, int] | None = None
        """The timers that limit when activities begin, by the number of their schedule event."""
        self._progress: Progress | None = None
        self._patches: dict[str, bool] | None = None
        """Whether each patch applies, decided where the execution came to it first."""
        self._draft: TurnDraft | None = None
        self.cancel_reason: str | None = None
        self.copied_to = 0
        """The last event of the copied history, in the turn that begins with a copy; 0 otherwise."""

    @property
    def next_event(self) -> int:
        """The number that the next command will have."""
        return self.transcript.last_event + 1

    def require_running(self, call: str) -> None:
        """Raise `ForbiddenInOrchestration` unless the orchestration's own code is running."""
        if not self.loop.runs_here():
            error = ForbiddenInOrchestration(
                f"{call} was called outside the run of its orchestration"
                f" {self.definition.name!r}; use the context only in the orchestration's own code"
            )
            if self.loop.is_running():  # a thread, while the orchestration runs in another
                self.loop.forbid(error)
            forbid(error)

    def _compare_of(self, event: Event) -> Compare:
        """How values that differ from this event are handled: the most specific setting counts."""
        if isinstance(event, history.ActivityScheduled):
            activity = self.catalog.activities.get(event.name)
            if activity is not None and activity.compare is not None:
                return activity.compare
        return self._compare

    @property
    def draft(self) -> TurnDraft:
        """What the turn brings about so far. An execution that waits holds none."""
        if self._draft is None:
            self._draft = TurnDraft()
        return self._draft

    @property
    def progress(self) -> Progress:
        """The custom status and the values; made when the code first comes to them."""
        if self._progress is None:
            self._progress = Progress(self.transcript, self.surroundings, lambda: self.draft)
        return self._progress

    @property
    def used_progress(self) -> Progress | None:
        """The custom status and the values; None if the code has not come to them."""
        return self._progress

    def take_draft(self) -> TurnDraft:
        """What happened since the last draft was taken.

        Raises `ForbiddenUse` if the code made a forbidden call or awaits something that cannot come,
        and `UncaughtError` if it raised an error that parks its instance.
        """
        if self._uncaught is not None:
            raise self._uncaught
        self.boundary.check_turn(expecting=bool(self.work) or self.inbox.has_waits)
        draft, self._draft = self.draft, None
        # Repeated in each turn: another process may run the activities by now, or this one again.
        if self._ending and self.transcript.events:
            self._ending &= self.work.keys()
            draft.ending_activities.extend(map(self.outgoing.activity_id, sorted(self._ending)))
        draft.events, self.transcript.events = self.transcript.events, draft.events
        return draft

    def finish_copy(self) -> dict[int, NewChild]:
        """Leave in the draft what is open; returns the open children that the copied history started.

        Whether these have to be started is not for this module to know: they may exist.
        """
        draft, work = self.draft, self.work
        draft.engine = ENGINE_WITH_RECOVERY
        draft.activities = {
            each: draft.activities[each] for each in draft.activities if each in work
        }
        draft.timers = {each: draft.timers[each] for each in draft.timers if each in work}
        started = [number for number in draft.children if number <= self.copied_to]
        children = {number: draft.children.pop(number) for number in started}
        return {number: child for number, child in children.items() if number in work}

    # For the context

    def schedule_activity(
        self,
        name: str,
        input: str,
        result_type: object,
        *,
        tag: str | None,
        retry: RetryPolicy | None,
        patient: bool = False,
        start_timeout: timedelta | None = None,
    ) -> asyncio.Future[Any]:
        """Schedule an activity and, under a policy, further attempts after failures.

        If `patient`, a cancellation waits for the outcome of the attempt under way.
        """
        name = self.catalog.activity_aliases.get(name, name)
        recorded = self.started.format >= _FORMAT_WITH_POLICIES
        text = policy_text(retry) if retry is not None and recorded else None
        scheduled = self.transcript.ask(
            history.ActivityScheduled, name=name, input=input, attempt=1, tag=tag, retry=text
        )
        began = self.loop.now
        limit = retry.attempt_timeout if retry is not None and recorded else None
        number, alone = scheduled.event_id, patient and retry is None
        first = self._attempt(
            scheduled,
            number,
            began,
            result_type,
            limit,
            retry,
            awaited=patient,
            patient=alone,
            start_timeout=start_timeout,
        )
        if recorded and scheduled.retry != text:
            retry = None if scheduled.retry is None else policy_of(scheduled.retry, retry)
        if retry is None:
            return first
        limit = retry.attempt_timeout if recorded else None

        def attempt(number: int) -> ScheduledFuture[Any]:
            again = self.transcript.ask(
                history.ActivityScheduled,
                name=scheduled.name,
                input=scheduled.input,
                attempt=number,
                tag=scheduled.tag,
            )
            return self._attempt(
                again,
                scheduled.event_id,
                began,
                result_type,
                limit,
                retry,
                awaited=patient,
                start_timeout=start_timeout,
            )

        stream = self.randomness.stream(f"retry/{scheduled.event_id}")
        if limit is not None:
            # The runtime that runs an attempt enforces its limit.
            retry = replace(retry, attempt_timeout=None)
        attempts = Attempts(name, first, attempt, retry, stream, self.log)
        return attempts.start_patiently(self.loop, self) if patient else attempts.start(self.loop)

    def _attempt(
        self,
        scheduled: history.ActivityScheduled,
        first: int,
        began: Instant,
        result_type: object,
        limit: timedelta | None,
        retry: RetryPolicy | None,
        *,
        awaited: bool,
        patient: bool = False,
        start_timeout: timedelta | None = None,
    ) -> ScheduledFuture[Any]:
        """The future of one attempt. `first` is the schedule event of the first attempt, `began` its time.

        `awaited` tells the activity that a cancellation waits for its outcome; if `patient`, this
        future does so, and not the attempts around it.
        """
        number, name = scheduled.event_id, scheduled.name
        if self.transcript.drafts:
            started = self.started
            origin = None if started.lineage is None else started.origin(first)
            data = ActivityData(
                input=scheduled.input,
                event=number,
                attempt=scheduled.attempt,
                first=first,
                timeout=limit,
                awaited=awaited,
                origin=None if origin == started.execution else origin,
                headers=started.headers,
            )
            if retry is not None:
                data = with_policy(data, retry, began)
            self.draft.activities[number] = self.outgoing.activity(name, scheduled.tag, data)
        future = self._await(number, MessageKind.ACTIVITY, name, result_type, patient=patient)
        if start_timeout is not None:
            self._limit_start(number, to_microseconds(start_timeout))
        return future

    # The limit of an activity's beginning

    def _limit_start(self, activity: int, limit: int) -> None:
        """Set the timer at which an activity that has not begun is given up."""
        transcript = self.transcript
        timer = self.own_timer(self.loop.now + limit, "start_timeout")
        if transcript.closed:
            return
        self.start_limits = self.start_limits or {}
        self.start_limits[activity] = timer
        if not transcript.drafts:
            return
        draft, lineage = self.draft, self.started.lineage
        draft.engine = ENGINE_WITH_RECOVERY
        start_by = draft.timers[timer].visible_at or 0
        if lineage and not transcript.effective:
            # Scheduled again by a rewind: its time begins again, too.
            start_by = max(start_by, lineage[-1].at + limit)
            draft.timers[timer] = self.outgoing.timer(timer, start_by)
        added = draft.activities[activity]
        added.data = replace(added.data, start_by=start_by)

    def limits_start(self, activity: int) -> bool:
        """Whether the activity has a limit for its beginning, and has not begun as far as is known."""
        return self.start_limits is not None and activity in self.start_limits

    def end_start_limit(self, activity: int) -> None:
        """The activity has begun, or is over: its limit ends."""
        if self.start_limits is not None:
            timer = self.start_limits.pop(activity, None)
            if timer is not None:
                self.work_cancelled(timer)

    def reached_start_limit(self, timer: int) -> bool:
        """Give up the activity whose limit this timer is; returns False if it is no such timer."""
        limits = self.start_limits
        if limits is None:
            return False
        activity = next((each for each, own in limits.items() if own == timer), None)
        if activity is None:
            return False
        del limits[activity]
        work = self.work.pop(activity)
        self.transcript.ask(history.WorkCancelled, scheduled=activity)
        if self.transcript.drafts:
            self._take_back(activity, work)
        if work.future is not None:
            work.future.fail(ActivityTimeout(work.name, not_begun()))
        return True

    # Other work

    def schedule_timer(self, fire_at: Instant) -> ScheduledFuture[None]:
        """Schedule a timer; returns its future."""
        return self._await(self._timer(fire_at, "sleep"), MessageKind.TIMER)

    def schedule_child(
        self, name: str, version: str | None, input: str, instance: str | None, result_type: object
    ) -> ScheduledFuture[Any]:
        """Schedule a child; without an id it gets the default one."""
        name = self.catalog.orchestration_aliases.get(name, name)
        child = self.transcript.ask(
            history.ChildScheduled, instance=instance, name=name, input=input, version=version
        )
        number = child.event_id
        if self.transcript.drafts:
            self.draft.children[number] = self.outgoing.child(
                number, child.instance, child.name, child.version, child.input
            )
        return self._await(number, MessageKind.CHILD, name, result_type, child.instance)

    def schedule_detached(
        self, name: str, version: str | None, input: str, instance: str | None
    ) -> str:
        """Start an independent orchestration; returns its id."""
        name = self.catalog.orchestration_aliases.get(name, name)
        started = self.transcript.ask(
            history.DetachedScheduled, instance=instance, name=name, input=input, version=version
        )
        number, chosen = started.event_id, started.instance
        if self.transcript.effective:
            self.draft.detached.append(self.outgoing.detached(number, chosen, name, version, input))
        return chosen

    def patched(self, name: str, *, deprecated: bool) -> bool:
        """Whether the patch applies: its history says so, or the execution comes to it now."""
        if self._patches is None:
            self._patches = {}
        if name not in self._patches:
            self._patches[name] = self._comes_to_patch(name, deprecated)
        return self._patches[name]

    def _comes_to_patch(self, name: str, deprecated: bool) -> bool:
        if self.transcript.replaying:
            return self.transcript.has_patch(name)
        self.transcript.ask(history.PatchApplied, name=name, deprecated=deprecated)
        if self.transcript.effective:
            self.draft.engine = ENGINE_WITH_PATCHES
        return True

    def continue_as_new(self, input: str, version: str | None) -> None:
        """End this execution and begin the next one; a cancellation takes precedence."""
        if self.cancel_reason is not None:
            self.end_cancelled()
        else:
            self.end(history.OrchestrationContinuedAsNew, input=input, version=version)

    # What is delivered

    def reseed(self, number: int) -> None:
        """Draw the random numbers of event `number`, which is about to be delivered, and of later ones.

        A fork draws its own from its cut on.
        """
        while self.later_seeds and number >= self.later_seeds[0].from_event:
            seed, self.later_seeds = self.later_seeds[0], self.later_seeds[1:]
            self.randomness.reseed(f"{seed.incarnation}/{seed.execution}")

    # For the loop and the futures

    def create_timer(self, fire_at: Instant) -> int:
        """Create a timer that makes a callback of the loop ready; returns its number."""
        return self.own_timer(fire_at, "sleep")

    def cancel_timer(self, scheduled: int) -> None:
        """Cancel a timer of the loop."""
        self.work_cancelled(scheduled)

    def refuse(self, error: ForbiddenInOrchestration) -> None:
        """Record a forbidden use; later commands have no effect."""
        self.boundary.note(error)

    def log_unhandled(self, what: str, error: BaseException | None) -> None:
        """Log an exception that nothing handled or awaited."""
        self.log.unhandled(what, error)

    def work_cancelled(self, scheduled: int) -> None:
        """Cancel scheduled work, and undo its effect."""
        if self.transcript.closed:
            return
        self.loop.require_open()
        if self.inbox.remove_wait(scheduled):
            self.transcript.ask(history.WorkCancelled, scheduled=scheduled)
            return
        work = self.work.pop(scheduled, None)
        if work is None:
            return
        self.transcript.ask(history.WorkCancelled, scheduled=scheduled)
        if self.transcript.drafts:
            self._take_back(scheduled, work)
        self.end_start_limit(scheduled)

    def request_end(self, scheduled: int) -> bool:
        """Ask an activity to end, whose outcome is still awaited.

        Returns False if the activity was scheduled in this very step, and has not been queued.
        """
        if self.transcript.closed or scheduled not in self.work:
            return False
        self.loop.require_open()
        if scheduled > self.transcript.delivered:
            return False
        self._ending = self._ending or set()
        self._ending.add(scheduled)
        return True

    def own_timer(self, fire_at: Instant, purpose: str) -> int:
        """Create a timer without a future; returns its number."""
        number = self._timer(fire_at, purpose)
        if not self.transcript.closed:
            self.work[number] = Work(MessageKind.TIMER, None)
        return number

    def create_start_timer(self, fire_at: Instant) -> int:
        """Create the timer at which the orchestration is called; returns its number."""
        number = self.own_timer(fire_at, "start")
        if self.transcript.effective:
            self.draft.engine = ENGINE_WITH_RECOVERY
        return number

    # The end

    def end(self, kind: type[Event], **fields: object) -> None:
        """End the execution with this terminal event, unless it has ended already."""
        if self.transcript.closed:
            return
        terminal = self.transcript.end(kind, **fields)
        if terminal is not None:
            self._settle_turn(terminal)

    def parks(self, error: BaseException) -> bool:
        """Whether the error, which nothing caught, parks the instance instead of ending it."""
        kinds = (*self.definition.park_on, *self.surroundings.park_on)
        return bool(kinds) and isinstance(error, kinds) and self.transcript.effective

    def park(self, details: ErrorDetails) -> None:
        """Void the turn: it is tried again later, with whatever code there is then."""
        self._uncaught = UncaughtError(f"{details.display_message()}{trace_text(details)}")
        self.transcript.closed = True
        self.loop.halt()

    def end_cancelled(self) -> None:
        """End the execution as Failed, kind cancelled."""
        reason = self.cancel_reason or ""
        self.end(history.OrchestrationFailed, details=ApplicationFailure(Cancelled(reason=reason)))

    def _settle_turn(self, terminal: Event) -> None:
        """Cancel the work under way, and send the messages that the end calls for."""
        self._log_unawaited(terminal)
        self._drop_work()
        match terminal:
            case history.OrchestrationCompleted(output=output):
                self._close(InstanceStatus.COMPLETED, output.encode())
                self.draft.sent.extend(self.outgoing.answer_to_parent(output, None))
            case history.OrchestrationContinuedAsNew(input=input, version=version):
                self._close(InstanceStatus.CONTINUED_AS_NEW, input.encode())
                self.draft.version, self.draft.unpin = version, version is None
                self.draft.front.extend(
                    self.outgoing.next_execution(input, self.inbox.delivered(), self.inbox.unread())
                )
            case history.OrchestrationFailed(details=details):
                self._close_failed(details)
            case _:
                raise AssertionError(terminal)

    def _log_unawaited(self, terminal: Event) -> None:
        for task in self.loop.take_unawaited():
            self.log.never_awaited(task)
        if not isinstance(terminal, history.OrchestrationFailed):
            left = unawaited(self.work.values(), self.inbox.waits(), self.loop.waiting_tasks())
            self.draft.unawaited.extend(left)
        self.draft.dropped.extend(promised(self.work.values(), self.loop.waiting_tasks()))
        # Unawaited exceptions were logged above; freeing the tasks must not log them again.
        self.loop.is_silent = True

    def _close_failed(self, details: ErrorDetails) -> None:
        self._close(InstanceStatus.FAILED, encode_details(details))
        self.draft.sent.extend(self.outgoing.answer_to_parent(None, details))

    def _close(self, status: InstanceStatus, output: bytes) -> None:
        self.draft.end = ExecutionEnd(status=status, output=output)

    def _drop_work(self) -> None:
        """Cancel the children. Activities and timers become void with their execution."""
        draft = self.draft
        reason = "the parent ended" if self.cancel_reason is None else self.cancel_reason
        for number, work in self.work.items():
            is_new = number in draft.children and number > self.copied_to
            if work.kind is MessageKind.CHILD and not is_new:
                draft.sent.append(self.outgoing.cancel_of_child(number, work.child, reason))
        draft.activities.clear()
        draft.timers.clear()
        draft.children.clear()

    # Parts

    def _timer(self, fire_at: Instant, purpose: str) -> int:
        asked = self.transcript.ask(history.TimerCreated, fire_at=fire_at, purpose=purpose)
        number = asked.event_id
        if self.transcript.drafts:
            self.draft.timers[number] = self.outgoing.timer(number, asked.fire_at)
        return number

    def _await(
        self,
        number: int,
        kind: MessageKind,
        name: str = "",
        result_type: object = Any,
        child: str = "",
        *,
        patient: bool = False,
    ) -> ScheduledFuture[Any]:
        future: ScheduledFuture[Any] = (
            PatientFuture(loop=self.loop, port=self, scheduled=number)
            if patient
            else ScheduledFuture(loop=self.loop, port=self, scheduled=number)
        )
        if not self.transcript.closed:
            self.work[number] = Work(kind, future, name, result_type, child)
        return future

    def future_of_wait(self, number: int) -> ScheduledFuture[Any]:
        """The future of a wait for an external event."""
        return ScheduledFuture(loop=self.loop, port=self, scheduled=number)

    def _take_back(self, number: int, work: Work) -> None:
        """Drop the effect if it belongs to this turn; otherwise add its cancellation to the draft."""
        draft = self.draft
        if work.kind is MessageKind.ACTIVITY:
            if draft.activities.pop(number, None) is None:
                draft.cancelled_activities.append(self.outgoing.activity_id(number))
        elif work.kind is MessageKind.TIMER:
            if draft.timers.pop(number, None) is None:
                draft.removed.append(self.outgoing.timer_id(number))
        elif draft.children.pop(number, None) is None or number <= self.copied_to:
            if not self.transcript.effective:
                return
            reason = self.cancel_reason or "the parent does not wait any more"
            draft.sent.append(self.outgoing.cancel_of_child(number, work.child, reason))
