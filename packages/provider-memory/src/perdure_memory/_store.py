"""The store: all instances of one namespace, and the indexes over them.

Every method is one step under the lock; it reads no clock, does not wait, and leaves instances and
indexes consistent. Several providers may share a store, each with its own clock, event loop and
thread. The time is therefore passed in by the caller, and the arrival stamp, which never steps back,
belongs to the store. Void messages and activities are dropped at once.
"""

from __future__ import annotations

import threading
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

from perdure_memory._early_events import EarlyEvents
from perdure_memory._instances import Activity, Execution, Instance
from perdure_memory._listing_index import PARKED, ListingIndex, status_group
from perdure_memory._mailbox import Mailbox
from perdure_memory._notifications import Subscribers
from perdure_memory._ready_index import ReadyIndex, ReadyQueue


class Store:
    """Instances by id, and what is ready to lease."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.instances: dict[str, Instance] = {}
        self.created: dict[int, Instance] = {}
        """By `number` of the instance, in the order of creation."""
        self.next_number = 0
        self.listing = ListingIndex()
        self.execution_count = 0
        self.event_count = 0
        self.turn_subscribers = Subscribers()
        self.activity_subscribers = Subscribers()
        self.turns: ReadyIndex[Instance] = ReadyIndex(self.turn_subscribers.wake)
        self.activities: ReadyIndex[Activity] = ReadyIndex(self.activity_subscribers.wake)
        self.early_events = EarlyEvents()
        self._change_subscribers: WeakValueDictionary[tuple[str, bool], Subscribers] = (
            WeakValueDictionary()
        )
        self._stamp: Instant = 0

    def stamp(self, now: Instant) -> Instant:
        """The stamp of a message that arrives now; never earlier than the stamp before."""
        self._stamp = max(self._stamp, now)
        return self._stamp

    def create(self, new: NewInstance, now: Instant) -> Instance | None:
        """Create the instance, in place of the ended one that it replaces.

        Returns the instance that has the id, if the new one is not created.
        """
        found = self.instances.get(new.instance)
        if found is not None:
            if found.is_running or found.incarnation != new.replaces:
                return found
            self.delete(found)
        mailbox = self.early_events.take(new.instance)
        instance = Instance(_first_state(new, now), number=self.next_number, mailbox=mailbox)
        mailbox.discard(
            [message.id for message in mailbox if not instance.is_addressed_by(message)]
        )
        mailbox.put_front((new.start,), self.stamp(now))
        self.instances[new.instance] = instance
        self.created[instance.number] = instance
        self.listing.add(instance.number, instance.state)
        self.next_number += 1
        self.listing.put(instance.number, status_group(InstanceStatus.RUNNING))
        self.execution_count += 1
        self.turns.place(instance, now)
        self.notify_change(instance)
        return None

    def post(self, message: Message, now: Instant) -> None:
        """Put a message into its mailbox, unless it is void."""
        instance = self.instances.get(message.instance)
        if instance is None:
            if message.kind is MessageKind.EVENT:
                self.early_events.put(message, self.stamp(now))
        elif instance.is_addressed_by(message):
            instance.mailbox.put(message, self.stamp(now))
            if message.kind is MessageKind.CANCEL and message.visible_at is None:
                instance.hidden_until = None
            self.turns.place(instance, now)

    def add_activity(self, activity: Activity) -> None:
        """Add an activity; the caller places or leases it."""
        if activity.new.id in activity.instance.activities:
            self.drop_activity(activity.instance, activity.new.id)
        activity.instance.activities[activity.new.id] = activity

    def drop_activity(self, instance: Instance, activity_id: str) -> None:
        """Remove an activity, if it exists."""
        activity = instance.activities.pop(activity_id, None)
        if activity is not None:
            self.activities.forget(activity)

    def find(self, instance_id: str, incarnation: str) -> Instance | None:
        """The instance of this incarnation, or None."""
        instance = self.instances.get(instance_id)
        is_other = instance is None or instance.incarnation != incarnation
        return None if is_other else instance

    def find_activity(self, instance_id: str, activity_id: str) -> Activity | None:
        """An activity, or None."""
        instance = self.instances.get(instance_id)
        return None if instance is None else instance.activities.get(activity_id)

    def end_execution(
        self, instance: Instance, status: InstanceStatus, output: bytes | None, now: Instant
    ) -> None:
        """End the current execution, and drop what becomes void with it."""
        execution = instance.executions[-1]
        execution.status = status
        execution.output = output
        execution.completed_at = now
        for activity_id in tuple(instance.activities):
            self.drop_activity(instance, activity_id)
        if status is InstanceStatus.CONTINUED_AS_NEW:
            if not instance.has_continued:
                instance.has_continued = True
                self.listing.put(instance.number, status_group(status))
            self._begin_next(instance, now)
        else:
            self._end_instance(instance, status, output)

    def reopen(self, instance: Instance, now: Instant) -> None:
        """Begin the next execution, whether the current one runs or has ended."""
        if instance.is_running:
            self.end_execution(instance, InstanceStatus.CONTINUED_AS_NEW, None, now)
            return
        self._move(instance, InstanceStatus.RUNNING)
        instance.state = replace(instance.state, status=InstanceStatus.RUNNING, output=None)
        self._begin_next(instance, now)

    def delete(self, instance: Instance) -> None:
        """Delete an ended instance and all that belongs to it."""
        del self.instances[instance.id]
        del self.created[instance.number]
        self.listing.remove(instance.number, instance.state)
        self.listing.discard(instance.number, status_group(instance.state.status))
        self.prune(instance, instance.execution + 1)
        self.notify_change(instance)

    def prune(self, instance: Instance, before: int) -> int:
        """Delete the executions below a number; returns how many there were."""
        pruned = [each for each in instance.executions if each.number < before]
        del instance.executions[: len(pruned)]
        self.execution_count -= len(pruned)
        self.event_count -= sum(each.event_count for each in pruned)
        continued = InstanceStatus.CONTINUED_AS_NEW
        if instance.has_continued and all(e.status is not continued for e in instance.executions):
            instance.has_continued = False
            self.listing.discard(instance.number, status_group(continued))
        return len(pruned)

    def clear(self) -> None:
        """Delete everything, and wake all calls that wait."""
        self.early_events.clear()
        for instance in tuple(self.instances.values()):
            for activity_id in tuple(instance.activities):
                self.drop_activity(instance, activity_id)
            self.turns.forget(instance)
        self.instances.clear()
        self.created.clear()
        self.listing.clear()
        self.execution_count = self.event_count = 0
        for subscribers in tuple(self._change_subscribers.values()):
            subscribers.wake()

    def park(self, instance: Instance, mark: ParkedMark, now: Instant) -> None:
        """Mark the instance as parked; an earlier mark for the same reason keeps its time."""
        earlier = instance.state.parked
        since = earlier.since if earlier and earlier.reason == mark.reason else now
        parked = ParkedState(reason=mark.reason, details=mark.details, since=since)
        instance.state = replace(instance.state, parked=parked)
        self.listing.put(instance.number, PARKED)
        self.notify_change(instance)

    def unpark(self, instance: Instance) -> None:
        """Remove the parked mark, if there is one."""
        if instance.is_parked:
            instance.state = replace(instance.state, parked=None)
            self.listing.discard(instance.number, PARKED)

    def registered_turns(self, serves: Serves) -> list[ReadyQueue[Instance]]:
        """The queues of ready instances that the caller registers."""
        queues = self.turns.queues
        return [
            queue
            for name in queues.keys() & serves.orchestrations.keys()
            for (version, engine), queue in queues[name].items()
            if engine <= serves.engine and serves.accepts(name or "", version)
        ]

    def unregistered_turns(self, serves: Serves) -> list[ReadyQueue[Instance]]:
        """The queues of ready instances that the caller could run if it registered them."""
        return [
            queue
            for name, queues in self.turns.queues.items()
            for (version, engine), queue in queues.items()
            if engine <= serves.engine and not serves.accepts(name or "", version)
        ]

    def registered_activities(
        self, names: frozenset[str], tags: frozenset[str | None]
    ) -> list[ReadyQueue[Activity]]:
        """The queues of ready activities that the caller registers."""
        by_tag = self.activities.queues
        return [
            queue
            for tag in by_tag.keys() & tags
            for (name, _), queue in by_tag[tag].items()
            if name in names
        ]

    def unregistered_activities(
        self, request: ActivityRequest, now: Instant
    ) -> list[ReadyQueue[Activity]]:
        """The ready queues that the caller does not register, without those with a lease (ACT-24)."""
        unregistered = {
            (tag, key): queue
            for tag, queues in self.activities.queues.items()
            for key, queue in queues.items()
            if tag not in request.tags or key[0] not in request.names
        }
        if not unregistered:
            return []
        busy = self.activities.leased_queues(now)
        return [queue for key, queue in unregistered.items() if key not in busy]

    def notify_change(self, instance: Instance) -> None:
        """Wake the calls that wait for a change of this instance."""
        subscribers = self._change_subscribers.get((instance.id, False))
        if subscribers is not None:
            subscribers.wake()
        if instance.is_running and not instance.is_parked and instance.last_commit:
            return  # it continues, which does not concern calls that wait for its end
        subscribers = self._change_subscribers.get((instance.id, True))
        if subscribers is not None:
            subscribers.wake()

    def change_subscribers(self, instance_id: str, *, until_ended: bool = False) -> Subscribers:
        """The subscribers to changes of an instance; the caller must keep the object while it waits."""
        subscribers = self._change_subscribers.get((instance_id, until_ended))
        if subscribers is None:
            subscribers = self._change_subscribers[instance_id, until_ended] = Subscribers()
        return subscribers

    def _begin_next(self, instance: Instance, now: Instant) -> None:
        ended = instance.executions[-1].number
        instance.executions.append(Execution(ended + 1, now))
        instance.mailbox.discard_execution(ended)
        instance.state = replace(instance.state, execution=ended + 1, last_event=0)
        self.execution_count += 1

    def _end_instance(
        self, instance: Instance, status: InstanceStatus, output: bytes | None
    ) -> None:
        self._move(instance, status)
        instance.state = replace(instance.state, status=status, output=output)
        instance.mailbox = Mailbox()
        instance.count = 0
        instance.taken_from = None
        instance.hidden_until = None
        self.turns.forget(instance)

    def _move(self, instance: Instance, status: InstanceStatus) -> None:
        """Move the instance to the numbers of another status; the caller changes its state."""
        self.listing.discard(instance.number, status_group(instance.state.status))
        self.listing.put(instance.number, status_group(status))


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
        labels=dict(new.labels),
    )
