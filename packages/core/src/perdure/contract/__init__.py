"""The provider contract: what core asks of storage, and what third parties implement.

- `provider`: the abstract base class with the promises, method by method
- `admin`: the optional management capability
- `delegate`: passes every call on through one method; the base of wrappers
- `bound`: providers on a connection of the application, for clients alone
- `transactions`: what an activity writes in one transaction with its result
- `notifier`: wakes waiters of the same process
- `open_storage`: what a provider object holds while it is open
- `grouping`: calls that wait share one transaction
- `event_loop`: the event loop of a provider, and calls to it from other loops and threads
- `validation`: refuses arguments that no caller may pass
- `waiting`, `retries`: waiting for the first of several calls; calls that are made again
- `leases`: whether a lease or a delay is in force
- `packing`: the history of an ended execution as one small value
- `paging`: what fits into one answer, and pages of histories that are checked for gaps
- `hooks`: the hook specifications for provider packages and plugins
- `url`: provider URLs, and the class method by which an options model reads one

The errors that a provider raises are defined in `perdure.errors` and exported here.
The normative text, in numbered clauses, is `docs/build-on-it/contract.md`.
"""

from perdure.clock import Clock, Instant, ManualClock, SystemClock
from perdure.contract.admin import ProviderAdmin
from perdure.contract.bound import BoundAdmin, BoundProvider, cannot_be_bound, is_of_class
from perdure.contract.delegate import DelegatingProvider, ProviderCall
from perdure.contract.grouping import CallGroups, Group, GroupedCall, in_tasks
from perdure.contract.hooks import (
    ActivityWrapper,
    ProviderSpec,
    ProviderWrapper,
    TurnWrapper,
    hookimpl,
)
from perdure.contract.leases import FARTHEST_END, is_in_force
from perdure.contract.notifier import Notifier, Subscription
from perdure.contract.open_storage import OpenStorage
from perdure.contract.packing import (
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    pack_history,
    unpack_history,
)
from perdure.contract.paging import checked_page, first_page, missing_event
from perdure.contract.provider import Provider
from perdure.contract.transactions import OpenTransaction
from perdure.contract.url import ProviderUrl, UrlOptions, masked
from perdure.contract.validation import (
    check_commit,
    check_delay,
    check_lease,
    check_limit,
    check_reopening,
)
from perdure.contract.waiting import has_changed, to_its_end
from perdure.errors import (
    ActivityLeaseLost,
    CapabilityMissing,
    ExecutionNotFound,
    HistoryConflict,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    LeaseLost,
    ProviderError,
    StorageClosed,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
    TransactionRefused,
)
from perdure.model.message_ids import CANCEL_ID
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
    NewActivity,
)
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    MessageKind,
    NewInstance,
    ParentLink,
    ParkedMark,
    ParkedState,
)
from perdure.records.limits import (
    ALLOWED_SKEW,
    CONTRACT,
    DELETION,
    ENGINE,
    LISTING,
    LONGEST_LEASE,
    MANAGEMENT,
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    PERSISTENT,
    RECOVERY,
    SHARED,
    TRANSACTIONS,
    VALUES,
)
from perdure.records.listing import (
    InstancePage,
    InstanceQuery,
    InstanceWork,
    QueuedActivity,
    QueuedMessage,
)
from perdure.records.queries import (
    CancellationWait,
    ChangeWait,
    ExecutionState,
    IdPage,
    InstanceValues,
    StoreMetrics,
    StoreQueueDepths,
    WorkWait,
)
from perdure.records.recovery import InstanceReopening, InstanceTermination
from perdure.records.turns import (
    CommitAnswer,
    ExecutionEnd,
    HistoryPage,
    LeasedTurn,
    NewChild,
    Serves,
    StoredEvent,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

__all__ = [
    "ALLOWED_SKEW",
    "CANCEL_ID",
    "CONTRACT",
    "DELETION",
    "ENGINE",
    "FARTHEST_END",
    "LISTING",
    "LONGEST_LEASE",
    "MANAGEMENT",
    "MAX_BYTES_PER_DELIVERY",
    "MAX_MESSAGES_PER_DELIVERY",
    "MAX_PACKED_BYTES",
    "MAX_PACKED_EVENTS",
    "PERSISTENT",
    "RECOVERY",
    "SHARED",
    "TRANSACTIONS",
    "VALUES",
    "ActivityCompletion",
    "ActivityLease",
    "ActivityLeaseLost",
    "ActivityRelease",
    "ActivityRequest",
    "ActivityWrapper",
    "BoundAdmin",
    "BoundProvider",
    "CallGroups",
    "CancellationWait",
    "CapabilityMissing",
    "ChangeWait",
    "Clock",
    "CommitAnswer",
    "DelegatingProvider",
    "ExecutionEnd",
    "ExecutionNotFound",
    "ExecutionState",
    "Group",
    "GroupedCall",
    "HistoryConflict",
    "HistoryPage",
    "IdPage",
    "InstanceAlreadyExists",
    "InstanceNotFound",
    "InstancePage",
    "InstanceQuery",
    "InstanceReopening",
    "InstanceRunning",
    "InstanceState",
    "InstanceStatus",
    "InstanceTermination",
    "InstanceValues",
    "InstanceWork",
    "Instant",
    "LeaseLost",
    "LeasedActivity",
    "LeasedTurn",
    "ManualClock",
    "Message",
    "MessageKind",
    "NewActivity",
    "NewChild",
    "NewInstance",
    "Notifier",
    "OpenStorage",
    "OpenTransaction",
    "ParentLink",
    "ParkedMark",
    "ParkedState",
    "Provider",
    "ProviderAdmin",
    "ProviderCall",
    "ProviderError",
    "ProviderSpec",
    "ProviderUrl",
    "ProviderWrapper",
    "QueuedActivity",
    "QueuedMessage",
    "Serves",
    "StorageClosed",
    "StorageCorrupt",
    "StorageFailed",
    "StorageUnavailable",
    "StoreMetrics",
    "StoreQueueDepths",
    "StoredEvent",
    "Subscription",
    "SystemClock",
    "TransactionRefused",
    "TurnCommit",
    "TurnLease",
    "TurnRelease",
    "TurnRequest",
    "TurnWrapper",
    "UrlOptions",
    "WorkWait",
    "cannot_be_bound",
    "check_commit",
    "check_delay",
    "check_lease",
    "check_limit",
    "check_reopening",
    "checked_page",
    "first_page",
    "has_changed",
    "hookimpl",
    "in_tasks",
    "is_in_force",
    "is_of_class",
    "masked",
    "missing_event",
    "pack_history",
    "to_its_end",
    "unpack_history",
]
