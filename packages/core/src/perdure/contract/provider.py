"""The provider: what a storage backend promises, and the only thing that core asks of it.

A provider stores and locks; it never interprets. Payloads are opaque bytes, and all that it
needs for routing, indexing and voiding stands in plain fields of the records. The numbered,
normative text is `docs/build-on-it/contract.md`; the conformance suite has a check for every clause.

Terms used below:

- An instance is *ready* when it is running, has at least one visible message, no live turn
  lease and no delay. A message is *visible* when its `visible_at` is None or not after now.
- A lease *stands* until its work is leased again, given back, or at an end; then it is *gone*.
  It is *live* while now is before its end, and that end is not later than
  now + LONGEST_LEASE + ALLOWED_SKEW (a clock that stepped back left it there otherwise); after
  that it has *expired*. While it is live nobody else gets the work. While it stands, live or
  expired, its token can renew it, commit, complete and release. A delay lasts as a lease does.
- A message is *void*, and is never delivered or counted, when its instance has ended; when it
  names another incarnation; when it names an execution that is not the current one; and, unless
  it is an external event, when its instance does not exist. Void messages may be dropped at
  once or deleted later.
- An activity is *void* when its execution is not the current one, or its instance has ended,
  is gone, or has another incarnation.

Order of a mailbox: the START message; then messages put to the front, those of a later commit
ahead of those of an earlier one, each commit's in the order given; then by due time, where a
message without `visible_at` is due at the provider's stamp of its arrival, which never goes
below the previous stamp; then by arrival.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from perdure.clock import Clock
from perdure.contract.admin import ProviderAdmin
from perdure.contract.event_loop import ProviderLoop
from perdure.contract.notifier import Notifier
from perdure.contract.url import masked
from perdure.errors import InvalidInput
from perdure.model.shown import shown
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState, Message, NewInstance
from perdure.records.queries import CancellationWait, ChangeWait, WorkWait
from perdure.records.turns import (
    CommitAnswer,
    HistoryPage,
    LeasedTurn,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)


class Provider(ABC):
    """A storage backend. Subclasses implement the abstract methods; the others have defaults.

    One provider object belongs to the event loop that opened it; many tasks of that loop call it
    at once. Every method may raise a `ProviderError`: the leaf classes named at the method, or
    `StorageUnavailable` (worth a retry), `StorageFailed` and `StorageCorrupt`. After any error
    but the leaf classes named at the method, the caller doesn't know whether the call took
    effect, and repeats it: every call is safe to repeat. Arguments that no caller may pass raise
    `InvalidInput` before anything else: see `perdure.contract.validation`, which checks them for all.

    Calls may be cancelled. A cancelled call either took effect as a whole or not at all (but see
    `send`); a cancelled `lease_turns` or `lease_activities` gives its leases back, uncounted,
    where the store answers. A lease call that fails leaves no lease behind that counts, and core
    asks again under the same token.

    Returned records are never changed afterwards, nor is anything that was passed in.
    """

    finish_limit: int = 16
    """How many activities one commit may finish, at least 16."""
    tells_of_work: bool = False
    """Whether `wait_for_work` ends early when there is work; set it beside the method."""
    tells_of_changes: bool = False
    """Whether `wait_for_change` ends early when the instance changes; set it beside the method.

    A client asks rarely where it is true, and polls every 100 ms where it is not.
    """
    tells_of_cancellations: bool = False
    """Whether `wait_for_cancellation` names the leases that are gone; set it beside the method.

    Where it is not true, running activities hear of a cancellation elsewhere at their renewal.
    """

    def __init__(self, *, clock: Clock, description: str) -> None:
        self.clock = clock
        """The only source of time, of waits too."""
        self.description = description
        """The URL or what identifies the storage to a person, without secrets."""
        self.event_loop = ProviderLoop(description)
        """The event loop that opened the provider, and calls to it from other loops and threads."""
        self.notifier = Notifier()
        """Notified by core in this process; a provider may notify it when it hears of work elsewhere."""

    @abstractmethod
    async def create_instance(self, new: NewInstance) -> None:
        """Create an instance together with its start message, all or nothing.

        It is Running, at execution 1, event 0, created and updated now. After the call
        returned, every reader sees it. External events that waited for the id are delivered
        after the start message. The same incarnation again changes nothing and raises nothing.

        Raises `InstanceAlreadyExists` when another incarnation has the id, in whatever status.
        """

    @abstractmethod
    async def send(self, messages: Sequence[Message]) -> None:
        """Put messages into mailboxes, visible now or later, in the order given.

        A message whose id its mailbox holds is dropped; so is a void one. External events to an
        id that does not exist are kept for it; they never delay or hide another instance.
        Each message is put whole; a call of several that was cancelled or failed may have put
        only the first ones.
        """

    @abstractmethod
    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease up to `limit` ready instances that match `request.serves`.

        Each lease is exclusive, lasts `lease_for` from now, and raises the instance's `attempt`
        by one. The instances that have been ready longest come first, about: none is overtaken
        for ever. Leases that are already live under this token are returned first, uncounted
        and with the same end (the repeat of a call whose answer was lost); they count against
        `limit`. An expired lease of another token is gone once its instance is leased here.

        An instance matches when `serves` has its name and, where it is pinned, that version, and
        its engine is not newer. With `unregistered_for`, ready instances whose engine fits but whose
        name or version does not are returned too (`served=False`), once their earliest visible
        message has been visible, and their last release is past, for that long. Such instances
        never stand in the way of those that match.
        """

    @abstractmethod
    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        """Events of an execution with numbers above `after`, in order.

        A page holds at least one event where there is one. Whoever holds the turn lease sees
        every commit before it. Raises `InstanceNotFound` for another incarnation or none,
        `ExecutionNotFound` for an execution that never was, and `StorageCorrupt`, which names
        the instance, where the storage has lost an event.
        """

    @abstractmethod
    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        """Carry out everything that the commit says, or nothing at all.

        In this order: a repeat of the instance's last commit (same `id`, incarnation) is
        recognised and answered without any effect. Then `LeaseLost` unless the turn lease
        stands under `token` and the incarnation is right; `HistoryConflict` unless the execution
        and its last event are as expected; `ActivityLeaseLost(ids)` unless every lease of
        `finish` stands.

        Then, as one: events are appended; `remove`, `finish` and `cancel` take things away
        (a cancelled activity may be one that this commit adds: it is not added); activities are
        added, those with `lease=True` under a live lease with `delivery` 1; messages are sent
        as by `send`, messages to the `front` of the own mailbox; children are created as by
        `create_instance`, or, where the id is in use by another incarnation, their `if_exists`
        message is put into the own mailbox; the execution or the instance ends; plain fields are
        set (`updated_at` is now, `last_commit` this id, `parked` is cleared); the lease is kept
        until now + `keep_for` with `attempt` 1, or released with `attempt` 0. The end of the
        instance always releases. What is void is judged by the state that the whole commit leaves.
        """

    @abstractmethod
    async def release_turn(self, release: TurnRelease) -> None:
        """Give a turn lease back; a delay hides the instance, messages that come later included.

        Uncounted, the instance's `attempt` is what it was before the lease. `parked` is stored,
        and its `since` kept if the instance is parked for that reason already. Releasing a lease
        that is gone has no effect, but for one: an uncounted release of the lease that was last
        taken over lowers `attempt` by one, once, until a commit. So a process that stood still
        says that it lives.
        """

    @abstractmethod
    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Extend leases that stand to now + `lease_for`; returns those that are gone."""

    @abstractmethod
    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        """Lease up to `limit` visible, unleased activities whose name and tag match.

        The oldest first, about: none is overtaken for ever. Each has `delivery` raised by one.
        Leases that are already live under this token are returned first, uncounted and with the
        same end; they count against `limit`.
        With `unregistered_for`, activities whose name or tag does not match are returned too
        (`served=False`), once they have been visible, and their last release is past, for that
        long, unless one of the same name and tag is leased now: then a runtime serves them, and is
        busy. They never stand in the way of those that match. Void activities are never leased.
        """

    @abstractmethod
    async def complete_activity(self, completion: ActivityCompletion) -> None:
        """Remove the activity and put its message into the instance's mailbox, as one.

        Raises `ActivityLeaseLost` where the lease is gone or the activity is void; then nothing
        changed, and the result is not wanted. A repeat after success raises it too.
        """

    @abstractmethod
    async def release_activity(self, release: ActivityRelease) -> None:
        """Give an activity lease back, to be leased again after the delay.

        Uncounted, `delivery` is what it was before the lease. `parked` marks the instance.
        Releasing a lease that is gone has no effect, but for one: an uncounted release of the
        lease that was last taken over lowers `delivery` by one, once.
        """

    @abstractmethod
    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        """Extend leases that stand to now + `lease_for`; returns those that are gone."""

    @abstractmethod
    async def read_instance(self, instance: str) -> InstanceState | None:
        """The plain fields of an instance, or None. Never reads history or payloads of events.

        Raises `StorageCorrupt`, which names the instance, where its fields can't be understood.
        """

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Return when there may be something to lease, or after the timeout at the latest.

        What can be leased when the call begins, and what becomes visible by the passing of time,
        ends the wait too, where a provider knows of it. The default waits for the timeout: core
        chooses it so that this is polling. Core rings its own notifier beside it.
        """
        await self.clock.sleep(wait.timeout)

    async def wait_for_change(self, wait: ChangeWait) -> None:
        """Return when the instance differs from what was seen, or after the timeout at the latest.

        It differs when it exists and did not, when its last commit or its parked state is another.
        A difference that is there when the call begins ends it at once, where a provider looks.
        The default waits for the timeout.
        """
        await self.clock.sleep(wait.timeout)

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Return those of the leases that are gone, as `renew_activities` does, extending none.

        A provider that tells of changes returns as soon as one is gone, or at once where one is
        gone when the call begins. Any other may look once, when the timeout is over. The default
        waits for the timeout, and knows of none. One call serves everything that a runtime runs,
        so it should cost little where nothing happens.
        """
        await self.clock.sleep(wait.timeout)
        return frozenset()

    def as_management_capability(self) -> ProviderAdmin | None:
        """The management face of this provider, or None where it has none."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.description}>"


def check_provider(value: object) -> Provider:
    """The value if it is a provider; raises `InvalidInput`, which says how to open one."""
    if isinstance(value, Provider):
        return value
    if hasattr(value, "__aenter__"):
        raise InvalidInput(
            f"{type(value).__name__} is not a provider yet; enter it:"
            " async with perdure.open_provider(…) as provider"
        )
    given = repr(masked(value)) if isinstance(value, str) else shown(value)
    raise InvalidInput(
        f"{given} is not a provider; open one with perdure.open_provider, or pass its URL to"
        " BlockingClient.open"
    )
