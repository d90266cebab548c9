"""Takes activities from the queue, and those that a commit of this runtime adds already leased.

The runner runs them; the register `ActivityLeases` says what this process holds. If a lease call
returns an activity that is held here, since its lease had expired, the held one goes on under the
new lease, so that it does not run twice at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from perdure.authoring.catalog import Catalog
from perdure.clock import to_microseconds
from perdure.contract.hooks import ActivityWrapper
from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.model.details import ConfigurationFailure, Unregistered
from perdure.model.parked_reasons import UNREGISTERED
from perdure.model.wire import ResultData
from perdure.records.activities import ActivityRequest, LeasedActivity
from perdure.records.queries import WorkWait
from perdure.records.turns import CommitAnswer, TurnCommit
from perdure.replay.execution import Execution
from perdure.replay.turn import DraftActivity
from perdure.runtime.activity_call import ActivityCaller
from perdure.runtime.activity_cancellation import ActivityCancellation
from perdure.runtime.activity_leases import (
    ActivityLeases,
    ActivityRenewal,
    HeldActivity,
    ResultTaker,
)
from perdure.runtime.activity_log import activity_fields, log_given_up
from perdure.runtime.activity_runner import ActivityRunner
from perdure.runtime.activity_store import ActivityStore
from perdure.runtime.bytes_in_flight import LARGE, Share, counted
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.host_loop import BackgroundTasks
from perdure.runtime.isolation_gate import IsolationGate
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parking import ParkedInstances, unregistered_since, unregistered_tag
from perdure.runtime.polling import Found, LeaseLoop, UnregisteredLooks
from perdure.runtime.slots import Slots
from perdure.runtime.transactional_activity import ActivityTransactions
from perdure.runtime.worker_tag import WorkerTag

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure.runtime.stall_watch import StallWatch

_LOGGER = logging.getLogger("perdure.runtime")


class ActivityWorker:
    """The activities of one runtime."""

    what: ClassVar[str] = "activities"

    def __init__(
        self,
        *,
        provider: Provider,
        catalog: Catalog,
        options: RuntimeOptions,
        observers: Observers,
        results: ResultTaker,
        gate: IsolationGate,
        parked: ParkedInstances,
        skew: ClockSkew,
        stalls: StallWatch,
        client: Client,
        resources: object,
        worker_tag: WorkerTag,
        wrappers: Sequence[ActivityWrapper],
        in_flight: Share,
    ) -> None:
        self._in_flight = in_flight
        self._worker_tag = worker_tag
        self._provider = provider
        self._catalog = catalog
        self._options = options
        self._gate = gate
        self._skew = skew
        self._is_stopping = False
        self._caller = ActivityCaller(options, wrappers)
        self._slots = Slots(catalog, options, self._caller.threads, in_flight)
        self._background = BackgroundTasks()
        self.leases = ActivityLeases(in_flight)
        self.store = ActivityStore(provider, parked, skew)
        self.runner = ActivityRunner(
            clock=provider.clock,
            catalog=catalog,
            options=options,
            observers=observers,
            leases=self.leases,
            results=results,
            store=self.store,
            slots=self._slots,
            caller=self._caller,
            gate=gate,
            skew=skew,
            stalls=stalls,
            client=client,
            resources=resources,
            worker_tag=worker_tag,
            transactions=ActivityTransactions(provider),
        )
        self.cancellation = ActivityCancellation(
            clock=provider.clock,
            catalog=catalog,
            options=options,
            observers=observers,
            leases=self.leases,
            store=self.store,
            slots=self._slots,
            background=self._background,
        )
        self.renewal = ActivityRenewal(
            provider, self.leases, options, lost=self.cancellation.leases_lost
        )
        self._looks = UnregisteredLooks(provider.clock, options.unregistered_interval)
        self._loop = LeaseLoop(
            self,
            provider=provider,
            options=options,
            renewal=self.renewal,
            skew=skew,
            looks=self._looks,
        )

    @property
    def _tags(self) -> frozenset[str | None]:
        """The tags that are served."""
        return self._worker_tag.among(self._options.tags)

    # For turns

    def reserve(self, instance: str, activities: Collection[DraftActivity]) -> list[DraftActivity]:
        """Take slots for activities that a commit is to add leased; returns those that got one.

        What is in flight has to have room for them, too.
        """
        if not activities or self._is_stopping or not self._gate.is_open:
            return []
        tags, names, in_flight = self._tags, self._catalog.activities, self._in_flight
        is_first = not self.leases.runs_for(instance)
        direct: list[DraftActivity] = []
        for one in activities:
            size = len(one.data.input)
            if size < LARGE:
                size = 0
            if (
                one.name in names
                and one.tag in tags
                and (not in_flight.in_use or in_flight.fits(size))
                and self._slots.reserve(one.name, is_first=is_first)
            ):
                one.is_direct, is_first = True, False
                direct.append(one)
                if size:
                    in_flight.take(size)
        return direct

    def unreserve(self, activities: Iterable[DraftActivity]) -> None:
        """Give back slots that were reserved."""
        for one in activities:
            self._unreserve(one)

    def _unreserve(self, one: DraftActivity) -> None:
        self._slots.give(one.name)
        self._in_flight.give(counted(len(one.data.input)))

    def start_direct(
        self, commit: TurnCommit, added: Iterable[DraftActivity], answer: CommitAnswer
    ) -> None:
        """Run activities that a confirmed commit has added leased, in slots that were reserved."""
        now = self._provider.clock.now()
        for one in added:
            size = len(one.data.input)
            if size < LARGE:
                size = 0
            held = HeldActivity(
                commit.instance,
                commit.incarnation,
                commit.execution,
                one.id,
                one.name,
                one.tag,
                commit.activity_token or "",
                answer.activities_until or now,
                delivery=1,
                added_at=now,
                stored=b"",
                data=one.data,
                in_flight=size,
            )
            if self.leases.find(held) is not None:
                # The answer came so late that the lease had expired, and was taken here again.
                self._unreserve(one)
            elif self._is_stopping:
                self._unreserve(one)
                self._background.spawn(self.store.give_back(held))
            else:
                self.runner.start(held, now)
                if size:  # counted with its lease from now on
                    self._in_flight.give(size)

    # The queue

    async def dispatch(self) -> None:
        """Take activities from the queue for as long as the runtime runs.

        What no runtime has registered, or whose tag none serves, is parked, or in the end failed.
        """
        with self._provider.notifier.subscribe_activities() as subscription:
            self._slots.waiter = subscription
            await self._loop.run(subscription)

    def expects_from_queue(self, execution: Execution) -> bool:
        """Whether an activity of this execution is likely to begin here soon, and to end soon.

        Where the last look took as much as it asked for, the next one finds the rest.
        """
        if not self._slots.is_backlogged:
            return False
        name = execution.first_activity
        return name is not None and self.runner.expect_soon(name)

    @property
    def may_ask_for_unregistered(self) -> bool:
        """Not while a kind is full: its names are left out then, and would seem unregistered."""
        return self._slots.has_room_for_all

    async def wait_for_room(self) -> None:
        """Return when an activity could begin."""
        await self._slots.wait()
        while not self._gate.may_lease:
            await self._gate.until_may_lease()
            await self._slots.wait()

    def work_wait(self) -> WorkWait:
        """What to wait for after a look that found nothing."""
        return WorkWait(
            timeout=timedelta(0),
            activity_names=self._slots.names_with_room,
            activity_tags=self._tags,
        )

    async def look(
        self, token: str, unregistered_for: timedelta | None, *, is_repeat: bool
    ) -> Found:
        """Lease activities that could begin, and begin them."""
        slots = self._slots
        # What a call that failed has leased may be of any kind.
        room = slots.everything() if is_repeat or unregistered_for else slots.next_room()
        with slots.asked_for(room):
            leased = await self._provider.lease_activities(
                ActivityRequest(
                    token=token,
                    limit=room.limit,
                    lease_for=self._options.activity_lease,
                    names=room.names,
                    tags=self._tags,
                    unregistered_for=unregistered_for,
                )
            )
        slots.note_found(room, len(leased))
        served = [HeldActivity.of(one) for one in leased if one.served]
        self._in_flight.found([held.in_flight for held in served])
        started = [self._start_or_adopt(held) for held in served if self._admit(held)]
        if unregistered_for is not None:
            unregistered = [one for one in leased if not one.served]
            self._looks.saw((one.instance, one.id) for one in unregistered)
            for one in unregistered:
                self._background.spawn(self._handle_unregistered(one))
        if any(started):
            # What was given back is ready again.
            return Found.LAST_WORK if len(started) == len(leased) < room.limit else Found.WORK
        return Found.OWN_WORK if started else Found.NOTHING

    def _admit(self, held: HeldActivity) -> bool:
        """Give it back if its payload has no room here; tells whether it has."""
        if self._in_flight.fits(held.in_flight) or self.leases.find(held) is not None:
            return True
        self._background.spawn(self.store.give_back(held))
        return False

    def _start_or_adopt(self, held: HeldActivity) -> bool:
        """Begin it, or if it is held here let that go on; tells whether it began."""
        earlier = self.leases.find(held)
        if earlier is None or not earlier.is_wanted:
            # What is not wanted any more was told so, and cannot be untold: it ends first.
            self._slots.take(held.name)
            ended = None if earlier is None else partial(self.cancellation.until_ended, earlier)
            self.runner.start(held, self._provider.clock.now(), after=ended)
            return True
        _LOGGER.debug("activity %s of %r goes on under another lease", held.id, held.instance)
        self._skew.lease_lost(held.instance, earlier.until)
        self._background.spawn(self.store.account_for(earlier.lease))
        earlier.adopt(held)
        return False

    # Its end

    def stop(self) -> None:
        """Begin nothing any more."""
        self._is_stopping = self.store.is_stopping = True
        self.cancellation.is_stopping = True

    @property
    def has_lingering_threads(self) -> bool:
        """Whether a function is still in its thread although its attempt is over."""
        return self._caller.threads.abandoned > 0

    def tasks(self) -> list[asyncio.Task[None]]:
        """Everything that is under way."""
        running = [held.task for held in self.leases.running() if held.task]
        return [*running, *self._background.all()]

    def close(self) -> None:
        """Let the threads end, those at work when their functions do."""
        self._caller.close()

    # What is not registered here

    async def _handle_unregistered(self, leased: LeasedActivity) -> None:
        held = HeldActivity.of(leased)
        is_tag_served = held.tag in self._tags
        if await self._has_waited_too_long(held):
            kind = Unregistered(
                what="activity",
                name=held.name,
                activity_tag=None if is_tag_served else held.tag,
            )
            details = ConfigurationFailure(kind)
            log_given_up(held, details)
            await self.store.complete(held, ResultData(scheduled=held.event, details=details))
        else:
            if is_tag_served:
                why = f"activity {held.name!r} is not registered in this runtime"
            else:
                why = unregistered_tag(held.name, held.tag, self._options.tags)
            # Without a delay, so that a runtime that runs it takes it at once.
            await self.store.park(held, UNREGISTERED, why, delay=timedelta(0))

    async def _has_waited_too_long(self, held: HeldActivity) -> bool:
        limit = self._options.unregistered_timeout
        if limit is None:
            return False
        latest = self._provider.clock.now() - to_microseconds(limit)
        if held.added_at >= latest:
            return False
        try:
            state = await self._provider.read_instance(held.instance)
        except ProviderError as error:
            _LOGGER.warning(
                "unregistered activity of instance %r: %s",
                held.instance,
                error,
                extra=activity_fields(held),
            )
            return False
        since = None if state is None else unregistered_since(state)
        return since is not None and since < latest
