"""Describing an instance: its plain fields, what its history leaves open, and its queues."""

from __future__ import annotations

from datetime import datetime

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.description import (
    InstanceDescription,
    KeptEvent,
    OpenActivity,
    OpenTimer,
    OpenWait,
)
from perdure.client.doing import in_words
from perdure.client.histories import decode_stored, read_page
from perdure.client.info import InstanceInfo, instance_info
from perdure.client.open_work import OpenWork
from perdure.client.part import ClientPart
from perdure.client.watching import InstanceWatch
from perdure.clock import Instant, to_datetime
from perdure.contract.leases import is_in_force
from perdure.errors import InstanceNotFound, StorageCorrupt
from perdure.history import Event
from perdure.model.identifiers import check_identifier
from perdure.model.message_ids import activity_id, event_id_of
from perdure.records.instances import InstanceState
from perdure.records.limits import LISTING, VALUES
from perdure.records.listing import InstanceQuery, InstanceWork, QueuedActivity
from perdure.records.turns import StoredEvent

_MOST_CHILDREN = 1000


class DescribingClient(ClientPart):
    """The methods that show one instance; `describe_instance` needs the capability `listing`."""

    @on_any_loop
    async def describe_instance(self, instance: str) -> InstanceDescription:
        """Everything that one wants to see of an instance at once, and what it is doing now in words.

        It reads the history of the newest execution, page by page, the values, the queues and a
        page of children. A damaged history is told of, and does not hide the rest. Raises
        `InstanceNotFound`.
        """
        admin = self._admin("describe_instance", LISTING)
        state = await self._existing(instance)
        found = await self._open_work(state)
        # With the end, what was open is void.
        work = OpenWork() if calls.has_ended(state) else found.work
        queued = await self._retried(lambda: admin.read_work(instance))
        if queued is None:
            raise InstanceNotFound(instance)
        now = self._provider.clock.now()
        activities = _activities(state, work, queued, now)
        leased_until = _lease(queued.leased_until, now)
        info = instance_info(state)
        damages = [damage for damage in (info.damage, found.damage) if damage is not None]
        timers = sorted(work.timers.values(), key=lambda timer: timer.fire_at)
        waits = tuple(OpenWait(name=wait.name, since=wait.time) for wait in work.waits.values())
        open_timers = tuple(
            OpenTimer(due=to_datetime(timer.fire_at), purpose=timer.purpose) for timer in timers
        )
        return InstanceDescription(
            info=info,
            doing=in_words(
                info,
                activities=activities,
                timers=open_timers,
                waits=waits,
                children=tuple(work.children.values()),
                messages=queued.messages,
                is_leased=leased_until is not None,
                now=now,
                last_event=state.last_event,
            ),
            values=await self._all_values(state, damages),
            activities=activities,
            timers=open_timers,
            waits=waits,
            kept_events=tuple(
                KeptEvent(name=event.name, event_id=event_id_of(event.message_id), at=event.time)
                for event in work.kept.values()
            ),
            children=await self._children(state),
            damage="; ".join(damages) or None,
            event_count=state.last_event,
            history_bytes=found.size,
            messages=len(queued.messages),
            leased_until=leased_until,
            attempt=queued.attempt,
        )

    def watch_instance(self, instance: str) -> InstanceWatch:
        """The changes of an instance: an asynchronous iterator of its infos, for a live page.

        It yields the instance as it is, as soon as it exists, and again after each change that it
        sees: a turn, a custom status, a value, parking, another execution. Changes that follow each
        other closely may come as one. It ends after the instance has ended, or was deleted. Nothing
        runs between two steps, so it needs no closing; `asyncio.timeout` bounds a step.
        """
        self._enter("watch_instance")
        return InstanceWatch(self._provider, check_identifier(instance, "instance id"))

    async def _open_work(self, state: InstanceState) -> _ReadHistory:
        """What the history leaves open, as far as it can be read."""
        found = _ReadHistory()
        more = True
        try:
            while more:
                page = await read_page(
                    self._provider,
                    state.instance,
                    state.execution,
                    incarnation=state.incarnation,
                    after=found.count,
                )
                for event in page.events:
                    found.read(event, decode_stored(state.instance, state.execution, event))
                more = page.more
        except StorageCorrupt as error:
            found.damage = str(error)
        return found

    async def _all_values(self, state: InstanceState, damages: list[str]) -> dict[str, str]:
        if VALUES not in self._provider.capabilities or not state.value_count:
            return {}
        stored = await self._retried(lambda: self._provider.read_values(state.instance))
        if stored is None:
            return {}
        values: dict[str, str] = {}
        for key, data in stored.values.items():
            try:
                values[key] = calls.text_of(data, state.instance)
            except StorageCorrupt as error:
                damages.append(f"value {key!r}: {error}")
        return values

    async def _children(self, state: InstanceState) -> tuple[InstanceInfo, ...]:
        admin = self._admin("describe_instance", LISTING)
        query = InstanceQuery(parent=state.instance)
        page = await self._retried(lambda: admin.find_instances(query, limit=_MOST_CHILDREN))
        return tuple(
            instance_info(child)
            for child in page.instances
            if child.parent is not None and child.parent.incarnation == state.incarnation
        )


class _ReadHistory:
    """A history as far as it was read."""

    def __init__(self) -> None:
        self.work = OpenWork()
        self.count = 0
        self.size = 0
        self.damage: str | None = None

    def read(self, stored: StoredEvent, event: Event) -> None:
        """Go on with the next event."""
        self.work.read([event])
        self.count += 1
        self.size += len(stored.data)


def _activities(
    state: InstanceState, work: OpenWork, queued: InstanceWork, now: Instant
) -> tuple[OpenActivity, ...]:
    """The open activities; what the history does not show is as the queue has it."""
    in_queue = {activity.id: activity for activity in queued.activities}
    return tuple(
        _activity(number, work, in_queue.get(activity_id(work.origin(number), number)), now)
        for number in work.activities
    )


def _activity(
    number: int, work: OpenWork, queued: QueuedActivity | None, now: Instant
) -> OpenActivity:
    scheduled = work.activities[number]
    failed = work.failures.get(number)
    return OpenActivity(
        name=scheduled.name,
        scheduled=number,
        since=scheduled.time,
        attempt=scheduled.attempt,
        delivery=0 if queued is None else queued.delivery,
        leased_until=None if queued is None else _lease(queued.leased_until, now),
        tag=scheduled.tag,
        last_failure=None if failed is None else failed.details,
    )


def _lease(until: Instant | None, now: Instant) -> datetime | None:
    """The end of a lease that is in force; one that has run out stands until it is taken over."""
    return to_datetime(until) if until is not None and is_in_force(until, now) else None
