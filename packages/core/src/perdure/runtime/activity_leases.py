"""The register of activity leases: every activity that this process holds, with its one owner.

An activity is in one of these states:

    RUNNING      the activity runner owns it: its function runs, is about to, or has ended and its
                 result is being stored
    HANDED_OVER  a leased instance owns it: it has the result, and finishes the activity with a
                 commit or stores the result as a message
    RELEASED     nothing in this process owns it; its lease is not in the register

    RUNNING -> HANDED_OVER -> RELEASED
    RUNNING -> RELEASED

Invariants, with the clauses of the contract that they rest on:

1. Every lease in the register is renewed as long as its result is wanted, and no other is: a
   result whose lease is gone is not accepted (COMMIT-5, ACT-8).
2. An activity has one owner, so one result reaches the store once: through `finish` of a commit
   (COMMIT-13) or through `complete_activity` (ACT-7), never through both.
3. An activity runs once at a time in a process. Its lease may expire while it runs, and a lease
   call may return it again (ACT-2): then it goes on under the new lease (`adopt`). If it is not
   wanted any more it ends first; only a thread that hangs is not waited for beyond its grace.
4. A slot is taken exactly while an activity is RUNNING.
5. Its payload counts as in flight until it is RELEASED: its input, then its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from perdure.clock import Instant, to_microseconds
from perdure.contract.provider import Provider
from perdure.model.wire import ActivityData, ResultData
from perdure.records.activities import ActivityLease, LeasedActivity
from perdure.runtime.bytes_in_flight import LARGE, Share, counted
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.renewal import LeaseRenewal

if TYPE_CHECKING:
    from perdure.runtime.activity_call import ActivityTask
    from perdure.runtime.activity_context import ActivityContext

_LONGEST_INTERVAL = timedelta(seconds=5)
"""Between the renewals of activities: how late they hear of a cancellation elsewhere."""

ActivityKey: TypeAlias = tuple[str, str]
"""Incarnation and id: which activity of an instance id it is, whichever lease it has."""


class LeaseState(Enum):
    """See the module."""

    RUNNING = "the activity runner owns it"
    HANDED_OVER = "a leased instance owns its result"
    RELEASED = "nothing in this process owns it"


@dataclass(slots=True, eq=False, repr=False)
class HeldActivity:
    """One activity that this process has leased, from its lease until its result is stored."""

    instance: str
    incarnation: str
    execution: int
    id: str
    name: str
    tag: str | None
    token: str
    until: Instant
    """The end of the lease."""
    delivery: int
    """How often it was leased, uncounted releases left out."""
    added_at: Instant
    stored: bytes
    """Its data as the store has it; empty where `data` is set, and once its function is called."""
    data: ActivityData | None = None
    """What it is to be called with, where this process has added it."""
    state: LeaseState = LeaseState.RELEASED
    began_at: Instant = 0
    """When this process took it up."""
    called_at: Instant = 0
    """When its function was called; 0 before."""
    is_wanted: bool = True
    """False once its result is of no use: cancelled, void, or its lease lost."""
    awaited: bool = False
    """Whether a cancelled orchestration waits for its outcome; known once its function is called."""
    should_end: bool = False
    """Whether it was asked to end; its result is wanted all the same."""
    task: ActivityTask | None = None
    context: ActivityContext[object] | None = None
    deadline: Instant | None = None
    """When the time of all its attempts is over: a cancellation has no grace from then on."""
    result: ResultData | None = None
    """Set once it has ended."""
    in_flight: int = 0
    """How many bytes of payload it counts for."""

    @classmethod
    def of(cls, leased: LeasedActivity) -> HeldActivity:
        """An activity that a lease call returned."""
        return cls(
            leased.instance,
            leased.incarnation,
            leased.execution,
            leased.id,
            leased.name,
            leased.tag,
            leased.token,
            leased.until,
            leased.delivery,
            leased.added_at,
            leased.data,
            in_flight=counted(len(leased.data)),
        )

    @property
    def lease(self) -> ActivityLease:
        """The lease by name, as it is now."""
        return ActivityLease(instance=self.instance, activity=self.id, token=self.token)

    @property
    def key(self) -> ActivityKey:
        """Which activity of its instance it is."""
        return (self.incarnation, self.id)

    @property
    def event(self) -> int:
        """The number of its schedule event, from the id that the engine gave: `execution:event`."""
        return int(self.id.rpartition(":")[2])

    def adopt(self, again: HeldActivity) -> None:
        """Go on under another lease. The deliveries stay as they were: this process is alive."""
        self.token = again.token
        self.until = again.until


def _is_running(held: HeldActivity) -> bool:
    return held.state is LeaseState.RUNNING


class ResultTaker(Protocol):
    """Takes results into the turns of leased instances."""

    def take_result(self, held: HeldActivity) -> bool:
        """Own the activity from now on; False where no instance here can use its result."""
        ...


class ActivityLeases:
    """The register; see the module. Only it changes the state of an activity."""

    def __init__(self, in_flight: Share) -> None:
        self._in_flight = in_flight
        self._running: dict[HeldActivity, None] = {}
        self._handed_over: dict[HeldActivity, None] = {}
        self._by_instance: dict[str, dict[ActivityKey, HeldActivity]] = {}
        """All of both; of two with one key the newer, which begins when the older has ended."""
        self._is_busy = asyncio.Event()

    # Changes of state

    def begin(self, held: HeldActivity, now: Instant) -> None:
        """The activity runner owns it from now on."""
        held.state = LeaseState.RUNNING
        held.began_at = now
        if not self._running:
            self._is_busy.set()
        self._running[held] = None
        if held.in_flight:
            self._in_flight.take(held.in_flight)
        of_instance = self._by_instance.get(held.instance)
        if of_instance is None:
            of_instance = self._by_instance[held.instance] = {}
        of_instance[held.key] = held

    def has_ended(self, held: HeldActivity, result: ResultData) -> None:
        """Its function has returned or raised: the result counts from now on, and not the input."""
        held.result = result
        text = result.result
        size = 0 if text is None or len(text) < LARGE else len(text)
        if size or held.in_flight:
            self._in_flight.take(size)
            self._in_flight.give(held.in_flight)
            held.in_flight = size

    def hand_over(self, held: HeldActivity) -> None:
        """A leased instance has taken its result, and owns it from now on."""
        if held.state is not LeaseState.RUNNING:
            raise AssertionError(f"activity {held.id} is handed over while it is {held.state}")
        held.state = LeaseState.HANDED_OVER
        del self._running[held]
        self._handed_over[held] = None

    def release(self, held: HeldActivity) -> None:
        """Its result is stored or of no use, or it was given back; does nothing a second time."""
        state, held.state = held.state, LeaseState.RELEASED
        if state is LeaseState.RELEASED:
            return
        del (self._running if state is LeaseState.RUNNING else self._handed_over)[held]
        if held.in_flight:
            self._in_flight.give(held.in_flight)
        # A newer lease of the same activity may have taken its place, and ended before it.
        of_instance, key = self._by_instance.get(held.instance, {}), held.key
        if of_instance.get(key) is held:
            del of_instance[key]
            if not of_instance:
                del self._by_instance[held.instance]

    # Looking at it

    def __len__(self) -> int:
        """How many activities run."""
        return len(self._running)

    def running(self) -> list[HeldActivity]:
        """What the activity runner owns."""
        return list(self._running)

    def find(self, held: HeldActivity) -> HeldActivity | None:
        """What this process holds of the same activity, under whatever lease."""
        return self._by_instance.get(held.instance, {}).get(held.key)

    def runs_for(self, instance: str) -> bool:
        """Whether an activity of the instance runs."""
        of_instance = self._by_instance.get(instance)
        return of_instance is not None and any(map(_is_running, of_instance.values()))

    def running_of(self, instance: str) -> Iterator[HeldActivity]:
        """The running activities of an instance; ask again after a change."""
        of_instance = self._by_instance.get(instance)
        return iter(()) if of_instance is None else filter(_is_running, of_instance.values())

    def to_renew(self, is_due: Callable[[Instant], bool]) -> dict[ActivityLease, HeldActivity]:
        """The leases that are wanted and whose end is due for a renewal."""
        return {
            held.lease: held
            for owned in (self._running, self._handed_over)
            for held in owned
            if held.is_wanted and is_due(held.until)
        }

    async def until_busy(self) -> None:
        """Return once anything runs."""
        if not self._running:
            self._is_busy.clear()
            await self._is_busy.wait()

    def awaited(self) -> list[HeldActivity]:
        """What runs for orchestrations that wait for the outcome, and was not asked to end yet."""
        return [
            held
            for held in self._running
            if held.awaited and held.is_wanted and not held.should_end
        ]

    async def begun_before(
        self, latest: Callable[[], Instant]
    ) -> dict[ActivityLease, HeldActivity]:
        """The leases of what runs, is wanted, and began by then; waits until anything runs."""
        await self.until_busy()
        limit = latest()
        return {
            held.lease: held for held in self._running if held.is_wanted and held.began_at <= limit
        }


LostLeases = Callable[[Mapping[ActivityLease, HeldActivity]], None]
"""Told of leases that are gone, each with the activity that had it when the call was made."""


class ActivityRenewal(LeaseRenewal):
    """Renews activity leases: the heartbeat of running activities.

    If the provider does not tell of cancellations, this is also how running activities hear of a
    cancellation that another runtime committed.
    """

    what = "activities"

    def __init__(
        self,
        provider: Provider,
        leases: ActivityLeases,
        options: RuntimeOptions,
        *,
        lost: LostLeases,
    ) -> None:
        lease = options.activity_lease
        super().__init__(provider, lease, min(lease / 6, _LONGEST_INTERVAL))
        self._leases = leases
        self._lost = lost

    async def _renew(self, now: Instant, until: Instant) -> None:
        # If a renewal is the only way to hear of a cancellation, it comes in each round.
        tells = self.provider.tells_of_cancellations
        margin = self.length // 3 if tells else to_microseconds(self.interval)
        held = self._leases.to_renew(lambda end: self.is_due(end, now, margin))
        if not held:
            return
        lost = await self.provider.renew_activities(list(held), lease_for=self.lease_for)
        for lease, activity in held.items():
            if lease not in lost and activity.token == lease.token:
                activity.until = until
        self._lost({lease: held[lease] for lease in lost if lease in held})
