"""The store: all rows of one namespace, and the places where they stand.

Every method is one step under the lock: it reads no clock, waits for nothing, and leaves the
rows and their places in agreement. Several provider objects may share a store, each with its
own clock, event loop and thread; so `now` is the caller's, and the stamp of arrivals, which
never goes back, is the store's. Void messages and activities are dropped at once.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from dataclasses import replace
from weakref import WeakValueDictionary

from perdure.contract import (
    ActivityRequest,
    InstanceState,
    InstanceStatus,
    Instant,
    Message,
    MessageKind,
    NewInstance,
    ParkedMark,
    ParkedState,
    Serves,
)

from perdure_memory._leasing import LeaseQueue, Line
from perdure_memory._mailbox import Mailbox
from perdure_memory._rows import Activity, Execution, Instance
from perdure_memory._waiting import WatchList


class Store:
    """Instances by id, and what waits to be leased."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.instances: dict[str, Instance] = {}
        self.created: list[Instance] = []
        """In the order of creation; an instance's `number` is its place."""
        self.by_status: dict[InstanceStatus, list[int]] = {status: [] for status in InstanceStatus}
        """Numbers of instances, ascending. Those that ever continued as new stand there too."""
        self.execution_count = 0
        self.event_count = 0
        self.turn_watchers = WatchList()
        self.activity_watchers = WatchList()
        self.turns: LeaseQueue[Instance] = LeaseQueue(self.turn_watchers.wake)
        self.activities: LeaseQueue[Activity] = LeaseQueue(self.activity_watchers.wake)
        self._waiting: dict[str, Mailbox] = {}
        """Events for ids that do not exist."""
        self._change_watchers: WeakValueDictionary[tuple[str, bool], WatchList] = (
            WeakValueDictionary()
        )
        self._stamp: Instant = 0

    def stamp(self, now: Instant) -> Instant:
        """The stamp of what arrives now: never below an earlier one."""
        self._stamp = max(self._stamp, now)
        return self._stamp

    def create(self, new: NewInstance, now: Instant) -> Instance | None:
        """Create the instance, or give the one that has its id."""
        found = self.instances.get(new.instance)
        if found is not None:
            return found
        mailbox = self._waiting.pop(new.instance, None) or Mailbox()
        instance = Instance(_first_state(new, now), number=len(self.created), mailbox=mailbox)
        mailbox.discard(
            [message.id for message in mailbox if not instance.is_addressed_by(message)]
        )
        mailbox.put_front((new.start,), self.stamp(now))
        self.instances[new.instance] = instance
        self.created.append(instance)
        self.by_status[InstanceStatus.RUNNING].append(instance.number)
        self.execution_count += 1
        self.turns.place(instance, now)
        self.tell_change(instance)
        return None

    def post(self, message: Message, now: Instant) -> None:
        """Put a message into the mailbox that it addresses, unless it is void."""
        instance = self.instances.get(message.instance)
        if instance is None:
            if message.kind is MessageKind.EVENT:
                mailbox = self._waiting.setdefault(message.instance, Mailbox())
                mailbox.put(message, self.stamp(now))
        elif instance.is_addressed_by(message):
            instance.mailbox.put(message, self.stamp(now))
            self.turns.place(instance, now)

    def add_activity(self, activity: Activity) -> None:
        """Put an activity into the queue; the caller places or leases it."""
        self.drop_activity(activity.instance, activity.new.id)
        activity.instance.activities[activity.new.id] = activity

    def drop_activity(self, instance: Instance, activity_id: str) -> None:
        """Remove an activity, where there is one."""
        activity = instance.activities.pop(activity_id, None)
        if activity is not None:
            self.activities.forget(activity)

    def find_activity(self, instance_id: str, activity_id: str) -> Activity | None:
        """An activity, or None."""
        instance = self.instances.get(instance_id)
        return None if instance is None else instance.activities.get(activity_id)

    def end_execution(
        self, instance: Instance, status: InstanceStatus, output: bytes | None, now: Instant
    ) -> None:
        """End the current execution and drop what is void with it."""
        execution = instance.executions[-1]
        execution.status = status
        execution.output = output
        execution.completed_at = now
        for activity_id in tuple(instance.activities):
            self.drop_activity(instance, activity_id)
        if status is InstanceStatus.CONTINUED_AS_NEW:
            self._begin_next(instance, now)
        else:
            self._end_instance(instance, status, output)

    def park(self, instance: Instance, mark: ParkedMark, now: Instant) -> None:
        """Mark the instance; the time of an earlier mark for the same reason stays."""
        earlier = instance.state.parked
        since = earlier.since if earlier and earlier.reason == mark.reason else now
        parked = ParkedState(reason=mark.reason, details=mark.details, since=since)
        instance.state = replace(instance.state, parked=parked)
        self.tell_change(instance)

    def served_turns(self, serves: Serves) -> list[Line[Instance]]:
        """The lines of ready instances that match."""
        lines = self.turns.lines
        return [
            line
            for name in lines.keys() & serves.orchestrations.keys()
            for (version, engine), line in lines[name].items()
            if engine <= serves.engine and serves.accepts(name or "", version)
        ]

    def unserved_turns(self, serves: Serves) -> list[Line[Instance]]:
        """The lines of ready instances that match but for their name or version."""
        return [
            line
            for name, lines in self.turns.lines.items()
            for (version, engine), line in lines.items()
            if engine <= serves.engine and not serves.accepts(name or "", version)
        ]

    def served_activities(
        self, names: frozenset[str], tags: frozenset[str | None]
    ) -> list[Line[Activity]]:
        """The lines of ready activities that match."""
        by_tag = self.activities.lines
        return [
            line
            for tag in by_tag.keys() & tags
            for (name, _), line in by_tag[tag].items()
            if name in names
        ]

    def unserved_activities(self, request: ActivityRequest) -> list[Line[Activity]]:
        """The lines of ready activities whose name or tag does not match."""
        return [
            line
            for tag, lines in self.activities.lines.items()
            for (name, _), line in lines.items()
            if tag not in request.tags or name not in request.names
        ]

    def tell_change(self, instance: Instance) -> None:
        """Wake those who wait for a change of this instance."""
        state = instance.state
        watchers = self._change_watchers.get((state.instance, False))
        if watchers is not None:
            watchers.wake()
        if state.status is InstanceStatus.RUNNING and state.parked is None and state.last_commit:
            return  # nothing to those who wait for its end
        watchers = self._change_watchers.get((state.instance, True))
        if watchers is not None:
            watchers.wake()

    def change_watchers(self, instance_id: str, *, until_ended: bool = False) -> WatchList:
        """The list of those who wait for a change; it lasts as long as the caller keeps it."""
        watchers = self._change_watchers.get((instance_id, until_ended))
        if watchers is None:
            watchers = self._change_watchers[instance_id, until_ended] = WatchList()
        return watchers

    def _begin_next(self, instance: Instance, now: Instant) -> None:
        ended = instance.executions[-1].number
        instance.executions.append(Execution(ended + 1, now))
        instance.mailbox.discard_execution(ended)
        instance.state = replace(instance.state, execution=ended + 1, last_event=0)
        self.execution_count += 1
        numbers = self.by_status[InstanceStatus.CONTINUED_AS_NEW]
        if ended == 1:
            insort(numbers, instance.number)

    def _end_instance(
        self, instance: Instance, status: InstanceStatus, output: bytes | None
    ) -> None:
        running = self.by_status[InstanceStatus.RUNNING]
        del running[bisect_left(running, instance.number)]
        insort(self.by_status[status], instance.number)
        instance.state = replace(instance.state, status=status, output=output)
        instance.mailbox = Mailbox()
        instance.count = 0
        self.turns.forget(instance)


def _first_state(new: NewInstance, now: Instant) -> InstanceState:
    return InstanceState(
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
        created_at=now,
        updated_at=now,
        parent=new.parent,
    )
