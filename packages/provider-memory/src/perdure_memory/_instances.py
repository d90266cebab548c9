"""Instances, their executions and their activities, as the store holds them.

These objects change in place under the store's lock, and never leave this package: callers get
frozen records.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    ActivityRequest,
    ExecutionState,
    InstanceState,
    InstanceStatus,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewActivity,
    QueuedActivity,
)

from perdure_memory._mailbox import Mailbox
from perdure_memory._ready_index import Leasable, QueueKey


class Execution:
    """One execution and its history."""

    __slots__ = (
        "completed_at",
        "event_count",
        "events",
        "number",
        "output",
        "started_at",
        "status",
    )

    def __init__(self, number: int, started_at: Instant) -> None:
        self.number = number
        self.status = InstanceStatus.RUNNING
        self.output: bytes | None = None
        self.events: list[bytes | None] = []
        """The data of each event, in order; None for one that the conformance suite has removed.

        Bytes and no records, because the garbage collector looks at every record again and again.
        """
        self.event_count = 0
        """How many events were committed."""
        self.started_at = started_at
        self.completed_at: Instant | None = None

    @property
    def state(self) -> ExecutionState:
        """The state as a record."""
        return ExecutionState(
            execution=self.number,
            status=self.status,
            output=self.output,
            event_count=self.event_count,
            started_at=self.started_at,
            completed_at=self.completed_at,
        )


class Activity(Leasable):
    """An activity; it is removed as soon as it is finished, cancelled or void."""

    __slots__ = ("added_at", "execution", "instance", "new")

    def __init__(
        self, new: NewActivity, *, instance: Instance, execution: int, added_at: Instant
    ) -> None:
        super().__init__()
        self.new = new
        self.instance = instance
        self.execution = execution
        self.added_at = added_at

    @property
    def queue_key(self) -> QueueKey:
        return self.new.tag, (self.new.name, 0)

    def visible_since(self, now: Instant) -> Instant | None:
        if self.new.visible_at is None:
            return self.added_at
        return self.new.visible_at if self.new.visible_at <= now else None

    def next_due(self) -> Instant | None:
        return self.new.visible_at

    def is_registered(self, request: ActivityRequest) -> bool:
        """Whether the caller registers its name and runs its tag."""
        return self.new.name in request.names and self.new.tag in request.tags

    def as_queued(self, now: Instant) -> QueuedActivity:
        """The record for a look at the queue."""
        delayed = self.delayed_until(now)
        return QueuedActivity(
            id=self.new.id,
            name=self.new.name,
            tag=self.new.tag,
            data=self.new.data,
            added_at=self.added_at,
            delivery=self.count,
            visible_at=self.new.visible_at if delayed is None else delayed,
            leased_until=self.leased_until,
        )

    def as_leased(self, *, served: bool) -> LeasedActivity:
        """The record for the holder of the lease."""
        token, until = self.lease
        return LeasedActivity(
            instance=self.instance.id,
            incarnation=self.instance.incarnation,
            execution=self.execution,
            id=self.new.id,
            name=self.new.name,
            tag=self.new.tag,
            data=self.new.data,
            token=token,
            until=until,
            delivery=self.count,
            added_at=self.added_at,
            served=served,
        )


class Instance(Leasable):
    """An instance with its executions, activities and messages.

    Each commit changes the last event, the last commit and the time. They stand beside the record of
    the plain fields, which is made again when it is read: a lease is kept for many commits.
    """

    __slots__ = (
        "_state",
        "_state_is_old",
        "activities",
        "activities_until",
        "executions",
        "has_continued",
        "id",
        "in_use",
        "incarnation",
        "last_commit",
        "last_event",
        "mailbox",
        "number",
        "updated_at",
        "values",
    )

    def __init__(self, state: InstanceState, *, number: int, mailbox: Mailbox) -> None:
        super().__init__()
        self.id = state.instance
        self.incarnation = state.incarnation
        self.state = state
        self.number = number
        """Its position in the order of creation."""
        self.mailbox = mailbox
        self.executions = [Execution(1, state.created_at)]
        """Ascending, without gaps; the last one is the current one."""
        self.has_continued = False
        """Whether an execution has ended as CONTINUED_AS_NEW."""
        self.activities: dict[str, Activity] = {}
        self.values: dict[str, bytes] = {}
        self.activities_until: Instant | None = None
        """The end of the leases of the activities that the last commit has added leased."""
        self.in_use: frozenset[str] = frozenset()
        """The ids in use that the last commit was told of."""

    @property
    def state(self) -> InstanceState:
        """The plain fields."""
        if self._state_is_old:
            self.state = replace(
                self._state,
                last_event=self.last_event,
                last_commit=self.last_commit,
                updated_at=self.updated_at,
            )
        return self._state

    @state.setter
    def state(self, state: InstanceState) -> None:
        self._state = state
        self._state_is_old = False
        self.last_event = state.last_event
        self.last_commit = state.last_commit
        self.updated_at = state.updated_at

    def note_commit(self, commit_id: str, events: int, now: Instant) -> None:
        """Change the fields that every commit changes."""
        self.last_event += events
        self.last_commit = commit_id
        self.updated_at = now
        self._state_is_old = True

    @property
    def execution(self) -> int:
        """The number of the current execution."""
        return self._state.execution

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._state.status is InstanceStatus.RUNNING

    @property
    def is_parked(self) -> bool:
        """Whether it has a parked mark."""
        return self._state.parked is not None

    @property
    def queue_key(self) -> QueueKey:
        return self._state.name, (self._state.version, self._state.engine)

    def visible_since(self, now: Instant) -> Instant | None:
        return self.mailbox.visible_since(now)

    def next_due(self) -> Instant | None:
        return self.mailbox.next_due()

    def find_execution(self, number: int) -> Execution | None:
        """An execution by its number, or None if it never was or was deleted."""
        place = number - self.executions[0].number
        return self.executions[place] if 0 <= place < len(self.executions) else None

    def is_addressed_by(self, message: Message) -> bool:
        """Whether the message is for this incarnation and execution; if not, it is void."""
        return (
            self.is_running
            and message.incarnation in (None, self.incarnation)
            and message.execution in (None, self._state.execution)
        )

    def as_leased(self, now: Instant, *, served: bool) -> LeasedTurn:
        """The record for the holder of the lease."""
        token, until = self.lease
        messages, more = self.mailbox.deliver(now)
        return LeasedTurn(
            state=self.state,
            token=token,
            until=until,
            attempt=self.count,
            messages=messages,
            more=more,
            served=served,
        )
