"""The provider: the promises of a storage backend to core.

A provider stores and locks; it never interprets. Payloads are opaque bytes, and the plain fields of
the records hold everything that a provider needs for routing, indexing and voiding. The numbered,
normative text is `docs/build-on-it/contract.md`; the conformance suite has a check for every clause.

Terms:

- An instance is *ready* if it is running, has at least one visible message, no live turn lease and
  no delay. A message is *visible* if its `visible_at` is None or not after now.
- A lease *stands* until its work is leased again, released or finished; then it is *gone*. It is
  *live* while now is before its end, and its end is not later than now + LONGEST_LEASE +
  ALLOWED_SKEW (a later end comes from a clock that has stepped back); after that it has *expired*.
  While a lease is live, no other caller gets the work. While it stands, live or expired, its token
  can renew it, commit, complete and release. A delay is in force like a lease.
- A message is *void*, and is never delivered or counted, if its instance has ended; if it names
  another incarnation; if it names an execution that is not the current one; or if its instance does
  not exist and it is not an external event. A provider drops void messages at once or later.
- An activity is *void* if its execution is not the current one, or if its instance has ended, does
  not exist, or has another incarnation.

A mailbox is in this order: the START message; messages put to the front, those of a later commit
ahead of those of an earlier one, and those of one commit in the order given; all others by due time,
and then by arrival. A message without `visible_at` is due at the provider's stamp of its arrival,
which is never earlier than the previous stamp.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta

from perdure.clock import Clock, Instant
from perdure.contract.admin import ProviderAdmin
from perdure.contract.event_loop import ProviderLoop
from perdure.contract.notifier import Notifier
from perdure.contract.transactions import OpenTransaction
from perdure.contract.url import masked
from perdure.errors import CapabilityMissing, InvalidInput
from perdure.model.shown import shown
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState, Message, NewInstance
from perdure.records.limits import DELETION, RECOVERY, TRANSACTIONS, VALUES
from perdure.records.queries import CancellationWait, ChangeWait, InstanceValues, WorkWait
from perdure.records.recovery import InstanceReopening, InstanceTermination
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

    A provider object belongs to the event loop that opened it; many tasks of that loop call it
    concurrently. Every method may raise a `ProviderError`: the classes named at the method, or
    `StorageUnavailable` (retry it), `StorageFailed` and `StorageCorrupt`. After an error that is not
    named at the method, the call may or may not have taken effect, and the caller repeats it: every
    call is safe to repeat. Invalid arguments raise `InvalidInput` before the call does anything; the
    functions of `perdure.contract.validation` check them for all providers.

    Calls may be cancelled. A cancelled call takes effect completely or not at all (except `send`). A
    cancelled `lease_turns` or `lease_activities` releases its leases, uncounted, if the storage
    responds. A lease call that fails leaves no counted lease behind, and core repeats it with the same
    token.

    A provider never changes a record that it has returned or was given.
    """

    capabilities: frozenset[str] = frozenset()
    """The capabilities of contract 1.1 that the provider has: any of `RECOVERY`, `DELETION`, `VALUES`,
    `LISTING` and `TRANSACTIONS`. The methods of the others raise `CapabilityMissing`, and core passes no labels and
    no values to it."""
    finish_limit: int = 16
    """How many activities one commit may finish; at least 16."""
    tells_of_work: bool = False
    """Whether `wait_for_work` returns as soon as there is work; set it together with the method."""
    tells_of_changes: bool = False
    """Whether `wait_for_change` returns as soon as the instance changes; set it with the method.

    If it is true, a client waits for it alone, and reads the instance every 5 s at most. If not, the
    `notifier` tells the client of changes in this process, and the client polls every 100 ms.
    """
    tells_of_cancellations: bool = False
    """Whether `wait_for_cancellation` returns as soon as a lease is gone; set it with the method.

    If it is not true, a running activity learns of a cancellation when its lease is renewed.
    """

    def __init__(self, *, clock: Clock, description: str) -> None:
        self.clock = clock
        """The only source of time, also for waits."""
        self.description = description
        """The URL or another description of the storage for people, without secrets."""
        self.event_loop = ProviderLoop(description)
        """The event loop that opened the provider, and calls to it from other loops and threads."""
        self.notifier = Notifier()
        """Core notifies it of changes in this process; a provider may notify it of changes elsewhere."""

    def read_usage(self) -> Mapping[str, float]:
        """What the provider object has asked of its storage since it was opened, by names of its own.

        Each number only grows. A runtime with observers tells them of it once a minute
        (`StorageUsed`); the call takes no time and asks the storage nothing. Empty by default.
        """
        return {}

    @abstractmethod
    async def create_instance(self, new: NewInstance) -> None:
        """Create an instance together with its start message, all or nothing.

        The instance is Running, at execution 1 and event 0, created and updated now. Once the call has
        returned, every reader sees it. External events that arrived for the id earlier are delivered after
        the start message. Repeating the call with the same incarnation has no effect.

        Raises `InstanceAlreadyExists` if another incarnation has the id, in any status.
        """

    @abstractmethod
    async def send(self, messages: Sequence[Message]) -> None:
        """Put messages into mailboxes, visible now or later, in the order given.

        A message whose id the mailbox holds already is dropped, and so is a void message. External events
        for an id that does not exist are kept for it; they never delay or hide another instance. Each
        message is put completely or not at all; a call that was cancelled or failed may have put only the
        first ones.
        """

    @abstractmethod
    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease up to `limit` ready instances that match `request.serves`.

        Each lease is exclusive, lasts `lease_for` from now, and raises the instance's `attempt` by one.
        Instances that have been ready longest come about first: none waits without limit behind others.
        Live leases of this token are returned first, uncounted and with their end unchanged, since the
        response of the first call may have been lost; they count against `limit`. An expired lease of
        another token is gone once its instance is leased here.

        An instance matches if `serves` has its name and, if it is pinned, its version, and its engine is
        not newer. If `unregistered_for` is set, the call also returns instances whose engine fits but whose
        name or version does not (`served=False`), once their earliest visible message has been visible, and
        their last release is past, for that long. Such instances never delay those that match.
        """

    @abstractmethod
    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        """The events of an execution with numbers above `after`, in order, in pages.

        A page holds at least one event if there is one. The holder of the turn lease sees every earlier
        commit. Raises `InstanceNotFound` if the incarnation differs or does not exist, `ExecutionNotFound`
        if the execution does not exist, and `StorageCorrupt`, which names the instance, if the storage has
        lost an event.
        """

    @abstractmethod
    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        """Carry out everything that the commit contains, or nothing.

        The steps are checked in this order. A repeat of the instance's last commit (same `id` and
        incarnation) is recognised and answered without any effect. `LeaseLost` is raised unless the turn
        lease stands under `token` and the incarnation is right; `HistoryConflict` unless the execution and
        its last event are as expected; `ActivityLeaseLost`, with the ids, unless every lease of `finish`
        stands.

        Then all of this takes effect together. Events are appended. Messages in `remove` and activities in
        `finish` and `cancel` are removed (an activity in `cancel` that this commit adds is not added).
        Activities are added; those with `lease=True` under a live lease, with `delivery` 1. Messages are
        sent like by `send`, and messages in `front` are put to the front of the own mailbox. Children are
        created like by `create_instance`; if another incarnation has the id, the `if_exists` message is put
        into the own mailbox instead. The execution or the instance ends. Plain fields are set: `updated_at`
        is now, `last_commit` is this id, and `parked` is cleared. The lease is kept until now + `keep_for`
        with `attempt` 1, or released with `attempt` 0; the end of the instance always releases it. The state
        after the whole commit decides what is void.
        """

    @abstractmethod
    async def release_turn(self, release: TurnRelease) -> None:
        """Release a turn lease; a delay hides the instance, including messages that arrive meanwhile.

        If the release is not counted, the instance's `attempt` is what it was before the lease. `parked` is
        stored; an earlier mark for the same reason keeps its `since`. Releasing a lease that is gone has no
        effect, with one exception: an uncounted release of the lease that was last taken over lowers
        `attempt` by one, once, until the next commit. With it, a process that was suspended reports that it
        is alive.
        """

    @abstractmethod
    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Let the leases that stand end at now + `lease_for`, later or earlier; returns those that are gone."""

    @abstractmethod
    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        """Lease up to `limit` visible, unleased activities whose name and tag match.

        The oldest come about first: none waits without limit behind others. Each lease raises the activity's
        `delivery` by one. Live leases of this token are returned first, uncounted and with their end
        unchanged; they count against `limit`. If `unregistered_for` is set, the call also returns activities
        whose name or tag does not match (`served=False`), once they have been visible, and their last
        release is past, for that long. It leaves out activities if another one of the same name and tag
        is leased now, since a runtime that registers them is busy then. Unregistered activities never
        delay those that match. Void activities are never leased.
        """

    @abstractmethod
    async def complete_activity(self, completion: ActivityCompletion) -> None:
        """Remove the activity and put its message into the instance's mailbox, all or nothing.

        Raises `ActivityLeaseLost` without a change if the lease is gone or the activity is void; the result
        is discarded then. A repeat after a success raises it too.
        """

    @abstractmethod
    async def release_activity(self, release: ActivityRelease) -> None:
        """Release an activity lease; the activity can be leased again after the delay.

        If the release is not counted, `delivery` is what it was before the lease. `parked` marks the
        instance. Releasing a lease that is gone has no effect, with one exception: an uncounted release of
        the lease that was last taken over lowers `delivery` by one, once.
        """

    @abstractmethod
    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        """Let the leases that stand end at now + `lease_for`, later or earlier; returns those that are gone."""

    @abstractmethod
    async def read_instance(self, instance: str) -> InstanceState | None:
        """The plain fields of an instance, or None. Never reads histories or payloads of events.

        Raises `StorageCorrupt`, which names the instance, if its fields are not valid.
        """

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        """Begin the next execution of an instance, running or ended, all or nothing.

        A repeat is recognised and has no effect: `reopening.id` is the instance's last commit. Raises
        `InstanceNotFound` unless the incarnation exists, and `HistoryConflict` unless the execution is as
        expected.

        The current execution ends: as CONTINUED_AS_NEW if it runs, else it stays as it ended. The instance
        is Running at the next execution and event 0, without output, parked mark, delay and lease,
        `attempt` is 0, `last_commit` is the id, and `updated_at` is now. Custom status, values and labels
        stay. The start message is first in the mailbox. Messages and activities of the old execution are
        void, as are all messages that the instance had when it was ended; other messages of a running
        instance stay.
        """
        del reopening
        raise CapabilityMissing(RECOVERY, self.description)

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        """End a running instance as Failed, all or nothing; returns whether it is this call that did.

        A repeat has no effect and returns True; an instance that has ended otherwise is not changed, and the
        call returns False. Raises `InstanceNotFound` unless the incarnation exists. The effects are those of
        a commit that appends `events`, sends `send` and ends the instance, except that the turn lease is gone
        without having been asked for.
        """
        del termination
        raise CapabilityMissing(RECOVERY, self.description)

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        """Delete an ended instance and all that belongs to it; returns whether there was one.

        From the moment of the return on, no call sees anything of it, and the id is free; what the storage
        still holds of it is removed later. Children stay. Without this incarnation the call has no effect.
        Raises `InstanceRunning`, without a change, if the instance is running.
        """
        del instance, incarnation
        raise CapabilityMissing(DELETION, self.description)

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        """Delete the executions with numbers below `before`; returns how many there were.

        The current execution always stays. Raises `InstanceNotFound` unless the incarnation exists.
        """
        del instance, incarnation, before
        raise CapabilityMissing(DELETION, self.description)

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        """Delete up to `limit` external events that wait for instances which do not exist.

        Only those for this id, unless `instance` is None, and only those that arrived earlier, if
        `arrived_before` is set. Returns how many there were; fewer than `limit` if none is left.
        """
        del instance, arrived_before, limit
        raise CapabilityMissing(DELETION, self.description)

    async def delete_namespace(self) -> None:
        """Delete everything in the namespace. A call that was cancelled or failed is repeated.

        The caller makes sure that no runtime and no client uses the namespace meanwhile.
        """
        raise CapabilityMissing(DELETION, self.description)

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        """The values of an instance, all or those with these keys; None if it does not exist."""
        del instance, keys
        raise CapabilityMissing(VALUES, self.description)

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        """Begin a transaction on a connection of its own, in which an activity writes.

        With `blocking` the connection is used in a thread, else on the event loop. The caller ends it by
        `complete_in_transaction` or by `roll_back`. A storage that has one writer at a time may let the
        call, and every other call that writes, wait for the end of another transaction.
        """
        del blocking
        raise CapabilityMissing(TRANSACTIONS, self.description)

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        """As `complete_activity`, and commit the transaction, all or nothing.

        Raises `ActivityLeaseLost` if the lease is gone or the activity is void: then nothing is committed,
        and the transaction is still open. Raises `TransactionRefused` if the database refuses what was
        written, with the driver's error as its cause; then nothing is committed.
        """
        del transaction, completion
        raise CapabilityMissing(TRANSACTIONS, self.description)

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        """Undo what was written in the transaction; has no effect once it has ended.

        With `in_use`, a thread may still be using the connection: what it writes has no effect either.
        """
        del transaction, in_use
        raise CapabilityMissing(TRANSACTIONS, self.description)

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Return when there may be work to lease, or after the timeout at the latest.

        A provider that tells of work also returns if there is work when the call begins, or when work
        becomes visible with time. The default implementation waits for the timeout, which core chooses so
        that this is polling; core also notifies its own waiters in the same process.
        """
        await self.clock.sleep(wait.timeout)

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        """Return when the instance differs from what the caller saw, or after the timeout at the latest.

        It differs if it exists and did not, if it existed and is gone, or if its last commit or its parked
        state is another. A provider that tells of changes returns at once if it differs when the call
        begins. The default implementation waits for the timeout.

        A provider may return a state that the instance has had since the call began; it spares the caller
        a read. After None, also when the instance is gone, the caller reads.
        """
        await self.clock.sleep(wait.timeout)
        return None

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Return those of the leases that are gone, without extending any.

        A provider that tells of cancellations returns as soon as a lease is gone, or at once if one is gone
        when the call begins. Other providers may look once, when the timeout is over. The default
        implementation waits for the timeout and returns nothing. One call covers everything that a runtime
        runs, so it should cost little while nothing happens.
        """
        await self.clock.sleep(wait.timeout)
        return frozenset()

    def as_management_capability(self) -> ProviderAdmin | None:
        """The management capability of this provider, or None if it has none."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.description}>"


def check_provider(value: object) -> Provider:
    """Return the value if it is a provider; raises `InvalidInput`, which says how to open one."""
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
