"""Instances and turns: creation, turn leases, commits.

Keeps the clauses CREATE, LEASE, HIST and COMMIT. A commit checks all of its preconditions
before it changes anything, and nothing after them can fail, so it is atomic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    CommitAnswer,
    ExecutionState,
    HistoryPage,
    InstanceState,
    InstanceStatus,
    LeasedTurn,
    NewChild,
    NewInstance,
    StoredEvent,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import (
    ActivityLeaseLost,
    ExecutionNotFound,
    HistoryConflict,
    InstanceAlreadyExists,
    InstanceNotFound,
    LeaseLost,
)

from perdure_conformance.model.tables import ExecutionRow, InstanceRow, Lease
from perdure_conformance.model.values import Values

EVENTS_PER_PAGE = 500


class Turns(Values):
    """The rules for instances and their turns."""

    def create_instance(self, new: NewInstance) -> None:
        """Create an instance with its start, unless the id is in use."""
        row = self.tables.instances.get(new.instance)
        if row is not None and row.state.incarnation != new.incarnation:
            raise InstanceAlreadyExists(new.instance)
        if row is None:
            self.add_instance(new)

    def add_instance(self, new: NewInstance) -> None:
        """Write the rows of a new instance."""
        state = InstanceState(
            instance=new.instance,
            incarnation=new.incarnation,
            name=new.name,
            version=new.version,
            engine=new.engine,
            execution=1,
            last_event=0,
            last_commit=None,
            status=InstanceStatus.RUNNING,
            output=None,
            created_at=self.now,
            updated_at=self.now,
            parent=new.parent,
            labels=dict(new.labels),
        )
        self.tables.instances[new.instance] = InstanceRow(state=state, created=self.count())
        self.begin_execution(new.instance, 1)
        self.remove_messages(new.instance, [new.start.id])
        self.put(new.start)

    def begin_execution(self, instance: str, number: int) -> None:
        """Open an empty history."""
        state = ExecutionState(
            execution=number,
            status=InstanceStatus.RUNNING,
            output=None,
            event_count=0,
            started_at=self.now,
            completed_at=None,
        )
        self.tables.executions.setdefault(instance, []).append(ExecutionRow(state=state))

    def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease what the token holds already, then what waits longest, then the unregistered."""
        rows = list(self.tables.instances.values())
        held = [row for row in rows if self.is_held(row.lease, request.token)]
        ready = sorted(filter(self.is_ready, rows), key=self.waiting_since)
        served = [row for row in ready if self.serves(row, request)]
        unregistered = [row for row in ready if self.is_left(row, request)]
        chosen = (held + served + unregistered)[: request.limit]
        return tuple(self.give_turn(row, request) for row in chosen)

    def is_ready(self, row: InstanceRow) -> bool:
        """Whether it has work, no live lease and no delay."""
        return (
            row.state.status is InstanceStatus.RUNNING
            and not self.is_live(row.lease)
            and not self.lasts(row.hidden_until)
            and self.has_visible(row.state.instance)
        )

    def waiting_since(self, row: InstanceRow) -> tuple[int, int]:
        """The moment since which the instance has been ready, and its place in the order."""
        entries = self.unsorted_visible(row.state.instance)
        due = min(entry.due for entry in entries)
        arrival = min(entry.arrival for entry in entries)
        return (max(due, row.released_at), max(arrival, row.released))

    def serves(self, row: InstanceRow, request: TurnRequest) -> bool:
        """Whether the caller can run it."""
        state = row.state
        return state.engine <= request.serves.engine and request.serves.accepts(
            state.name, state.version
        )

    def is_left(self, row: InstanceRow, request: TurnRequest) -> bool:
        """Whether it has waited so long that a caller without its name gets it too."""
        if request.unregistered_for is None or row.state.engine > request.serves.engine:
            return False
        since, _ = self.waiting_since(row)
        return not self.serves(row, request) and since <= self.after(-request.unregistered_for)

    def give_turn(self, row: InstanceRow, request: TurnRequest) -> LeasedTurn:
        """Lease it, unless the token holds it already."""
        if not self.is_held(row.lease, request.token):
            self.note_takeover(row)
            row.lease = Lease(request.token, self.after(request.lease_for))
            row.attempt += 1
        lease = row.lease
        if lease is None:
            raise AssertionError("a turn was given without a lease")
        messages, more = self.delivery(row.state.instance)
        return LeasedTurn(
            state=row.state,
            token=lease.token,
            until=lease.until,
            attempt=row.attempt,
            messages=messages,
            more=more,
            served=self.serves(row, request),
        )

    def holder(self, lease: TurnLease) -> InstanceRow | None:
        """The instance, if this lease stands."""
        row = self.tables.instances.get(lease.instance)
        return row if row is not None and self.stands(row.lease, lease.token) else None

    def release_turn(self, release: TurnRelease) -> None:
        """Give the lease back, if it stands."""
        row = self.holder(release.lease)
        if row is None:
            self.account_for_turn(release)
            return
        self.let_go(row)
        if release.delay > timedelta(0):
            row.hidden_until = self.after(release.delay)
        if not release.counted:
            row.attempt -= 1
        if release.parked is not None:
            self.park(row, release.parked)

    def account_for_turn(self, release: TurnRelease) -> None:
        """Take back the count of a lease that was taken over while its holder lived (LEASE-21)."""
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and self.is_accounted(row, release.lease.token, release.counted):
            row.attempt -= 1

    def let_go(self, row: InstanceRow) -> None:
        """End the lease and go to the end of the queue."""
        row.lease = None
        row.hidden_until = None
        row.released_at = self.now
        row.released = self.count()

    def renew_turns(
        self, leases: Sequence[TurnLease], lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Extend the leases that stand; return those that are gone."""
        gone: list[TurnLease] = []
        for lease in leases:
            row = self.holder(lease)
            if row is None:
                gone.append(lease)
            else:
                row.lease = Lease(lease.token, self.after(lease_for))
        return frozenset(gone)

    def read_history(
        self, instance: str, execution: int, incarnation: str, after: int
    ) -> HistoryPage:
        """One page of an execution's events."""
        if self.row_of(instance, incarnation) is None:
            raise InstanceNotFound(instance)
        row = self.execution_row(instance, execution)
        if row is None:
            raise ExecutionNotFound(instance, execution)
        return self.page(row, after)

    def execution_row(self, instance: str, execution: int) -> ExecutionRow | None:
        """One execution's row, if there is one."""
        rows = self.tables.executions.get(instance, [])
        return next((row for row in rows if row.state.execution == execution), None)

    def page(self, row: ExecutionRow, after: int) -> HistoryPage:
        """The events after a number, up to the size of a page."""
        events = row.events[after : after + EVENTS_PER_PAGE]
        return HistoryPage(events=tuple(events), more=after + len(events) < len(row.events))

    def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        """Recognise a repeat, look at the preconditions, then carry everything out."""
        row = self.row_of(commit.instance, commit.incarnation)
        if row is not None and self.is_repeat(row, commit):
            return self.repeated_answer(row, commit)
        row = self.require_lease(row, commit)
        self.require_history(row, commit)
        self.require_activities(commit)
        return self.carry_out(row, commit)

    def is_repeat(self, row: InstanceRow, commit: TurnCommit) -> bool:
        """Whether this repeats the instance's last commit."""
        return row.state.last_commit == commit.id

    def repeated_answer(self, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
        """The answer again; its messages are read again if the lease still stands."""
        before = row.answer or CommitAnswer()
        kept = commit.keep_for is not None
        if not kept or row.lease is None or not self.stands(row.lease, commit.token):
            return replace(before, lease_until=None, messages=(), more=False)
        messages, more = self.delivery(commit.instance, commit.held)
        return replace(before, lease_until=row.lease.until, messages=messages, more=more)

    def require_lease(self, row: InstanceRow | None, commit: TurnCommit) -> InstanceRow:
        """Refuse the commit unless the lease stands under its token."""
        if row is None or not self.stands(row.lease, commit.token):
            raise LeaseLost(commit.instance, operation="commit_turn")
        return row

    def require_history(self, row: InstanceRow, commit: TurnCommit) -> None:
        """Refuse the commit unless execution and last event are as expected."""
        expected = (commit.execution, commit.expected_event)
        found = (row.state.execution, row.state.last_event)
        if expected != found:
            raise HistoryConflict(commit.instance, expected=expected, found=found)

    def require_activities(self, commit: TurnCommit) -> None:
        """Refuse the commit unless every lease that it finishes stands."""
        lost = [lease.activity for lease in commit.finish if self.leased_row(lease) is None]
        if lost:
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")

    def carry_out(self, row: InstanceRow, commit: TurnCommit) -> CommitAnswer:
        """Make all changes of the commit; nothing fails from here on."""
        self.append_events(commit)
        self.remove_messages(commit.instance, commit.remove)
        self.remove_activities(commit.instance, [lease.activity for lease in commit.finish])
        self.remove_activities(commit.instance, commit.cancel)
        self.add_activities(commit)
        self.set_values(commit)
        self.set_fields(row, commit)
        self.end_execution(row, commit)
        in_use = self.create_children(commit)
        for message in commit.send:
            self.put(message)
        self.put_front(commit.front)
        self.drop_void(commit.instance)
        self.drop_void_activities(commit.instance)
        self.settle_lease(row, commit)
        row.answer = self.answer(row, commit, in_use)
        return row.answer

    def append_events(self, commit: TurnCommit) -> None:
        """Lengthen the history."""
        row = self.tables.executions[commit.instance][-1]
        for number, data in enumerate(commit.events, commit.expected_event + 1):
            row.events.append(StoredEvent(number=number, data=data))
        row.state = replace(row.state, event_count=len(row.events))

    def set_fields(self, row: InstanceRow, commit: TurnCommit) -> None:
        """The plain fields that every commit sets, and those that this one names."""
        state, status = row.state, commit.custom_status
        row.state = replace(
            state,
            last_event=commit.expected_event + len(commit.events),
            last_commit=commit.id,
            updated_at=self.now,
            parked=None,
            version=state.version if commit.version is None else commit.version,
            engine=state.engine if commit.engine is None else commit.engine,
            custom_status=state.custom_status if status is None else status,
            custom_status_version=state.custom_status_version + (status is not None),
            value_count=self.count_values(commit.instance),
        )

    def end_execution(self, row: InstanceRow, commit: TurnCommit) -> None:
        """End the execution, and with it the instance unless it continues as new."""
        end = commit.end
        if end is None:
            return
        execution = self.tables.executions[commit.instance][-1]
        execution.state = replace(
            execution.state, status=end.status, output=end.output, completed_at=self.now
        )
        if end.status is InstanceStatus.CONTINUED_AS_NEW:
            self.continue_as_new(row, commit)
        else:
            row.state = replace(row.state, status=end.status, output=end.output)

    def continue_as_new(self, row: InstanceRow, commit: TurnCommit) -> None:
        """Begin the next execution."""
        state = row.state
        version = None if commit.unpin else state.version
        row.state = replace(
            state, execution=state.execution + 1, last_event=0, output=None, version=version
        )
        self.begin_execution(state.instance, state.execution + 1)

    def create_children(self, commit: TurnCommit) -> frozenset[str]:
        """Create instances; returns the ids in use by other incarnations."""
        return frozenset(
            child.instance.instance for child in commit.create if not self.create_child(child)
        )

    def create_child(self, child: NewChild) -> bool:
        """Create one instance, or notify the committer that its id is in use."""
        try:
            self.create_instance(child.instance)
        except InstanceAlreadyExists:
            if child.if_exists is not None:
                self.put(child.if_exists)
            return False
        return True

    def settle_lease(self, row: InstanceRow, commit: TurnCommit) -> None:
        """Keep the lease, or release it; an ended instance always releases."""
        row.taken_from = None
        if commit.keep_for is None or row.state.status is not InstanceStatus.RUNNING:
            self.let_go(row)
            row.attempt = 0
        else:
            row.lease = Lease(commit.token, self.after(commit.keep_for))
            row.attempt = 1

    def answer(self, row: InstanceRow, commit: TurnCommit, in_use: frozenset[str]) -> CommitAnswer:
        """The answer of the commit."""
        leased = [
            activity.lease.until
            for new in commit.add
            if new.lease
            and (activity := self.tables.activities.get((commit.instance, new.id))) is not None
            and activity.lease is not None
            and self.is_wanted(activity)
        ]
        until = max(leased, default=None)
        if row.lease is None:
            return CommitAnswer(activities_until=until, in_use=in_use)
        messages, more = self.delivery(commit.instance, commit.held)
        return CommitAnswer(
            lease_until=row.lease.until,
            activities_until=until,
            in_use=in_use,
            messages=messages,
            more=more,
        )

    def read_instance(self, instance: str) -> InstanceState | None:
        """The plain fields."""
        row = self.tables.instances.get(instance)
        return None if row is None else row.state
