"""Perdure: ordinary async Python functions that survive crashes, restarts and deployments.

Each folder imports only from those above it:

- `codec/`: values as JSON, checked so that what is written comes back
- `model/`, with `errors` and `clock`: plain values that everything speaks of
- `records/`, with `history` and `observe`: what is stored, and what observers are told
- `diagnostics/`: exceptions as plain data, frames of user code, log lines
- `contract/`: what a storage provider promises
- `providers/`: how providers are found and opened
- `authoring/`: registering orchestrations and activities, and what is checked of their code
- `replay/`: the engine, without I/O; it knows no provider
- `client/`: starts and watches instances, and reaches a runtime only through the provider
- `runtime/`: leases work, runs it, commits what came of it
- `testing/`: an application in a test, and replay checks; nothing else imports it
"""

from perdure.authoring.registry import Registry
from perdure.authoring.retry import Exponential, Fixed, Linear, RetryPolicy
from perdure.client import (
    BlockingClient,
    BlockingHandle,
    Client,
    ExecutionInfo,
    Handle,
    InstanceFilter,
    InstanceInfo,
    Page,
    QueueDepths,
    RetriedInstances,
    StartOptions,
    SystemMetrics,
)
from perdure.clock import Clock, ManualClock, SystemClock
from perdure.contract.hooks import hookimpl
from perdure.errors import (
    ActivityFailed,
    ActivityTimeout,
    AmbiguousProvider,
    CapabilityMissing,
    ClientUnusable,
    ContractMismatch,
    DuplicateRegistration,
    ExecutionNotFound,
    ForbiddenInOrchestration,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    InvalidDuration,
    InvalidIdentifier,
    InvalidInput,
    InvalidPayload,
    InvalidProviderOption,
    InvalidProviderUrl,
    InvalidSignature,
    InvalidVersion,
    ManagementNotAvailable,
    NondeterministicCode,
    NotRegistered,
    OrchestrationError,
    OrchestrationFailed,
    PayloadTooLarge,
    PerdureError,
    ProviderError,
    ProviderImportFailed,
    ProviderLoadError,
    ProviderNotInstalled,
    RegistrationError,
    StorageClosed,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
    WaitTimeout,
)
from perdure.model.application_errors import ApplicationError, NonRetryable, RetryAfter
from perdure.model.details import (
    ApplicationFailure,
    Cancelled,
    ConfigurationFailure,
    Corruption,
    ErrorDetails,
    InfrastructureFailure,
    Nondeterminism,
    Poisoned,
    Raised,
    Storage,
    Terminated,
    Unregistered,
)
from perdure.model.status import (
    Completed,
    Failed,
    NotFound,
    OrchestrationStatus,
    Parked,
    Running,
)
from perdure.providers.loader import open_provider
from perdure.providers.plugins import installed_plugins
from perdure.records.history_document import ExecutionHistory, HistoryDocument
from perdure.records.instances import InstanceStatus
from perdure.replay.context import OrchestrationContext, orchestration_context
from perdure.runtime.activity_context import ActivityContext, activity_context
from perdure.runtime.health import FailedStorageCall
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.runtime import Runtime, RuntimeStatistics

__all__ = [
    "ActivityContext",
    "ActivityFailed",
    "ActivityTimeout",
    "AmbiguousProvider",
    "ApplicationError",
    "ApplicationFailure",
    "BlockingClient",
    "BlockingHandle",
    "Cancelled",
    "CapabilityMissing",
    "Client",
    "ClientUnusable",
    "Clock",
    "Completed",
    "ConfigurationFailure",
    "ContractMismatch",
    "Corruption",
    "DuplicateRegistration",
    "ErrorDetails",
    "ExecutionHistory",
    "ExecutionInfo",
    "ExecutionNotFound",
    "Exponential",
    "Failed",
    "FailedStorageCall",
    "Fixed",
    "ForbiddenInOrchestration",
    "Handle",
    "HistoryDocument",
    "InfrastructureFailure",
    "InstanceAlreadyExists",
    "InstanceFilter",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceRunning",
    "InstanceStatus",
    "InvalidDuration",
    "InvalidIdentifier",
    "InvalidInput",
    "InvalidPayload",
    "InvalidProviderOption",
    "InvalidProviderUrl",
    "InvalidSignature",
    "InvalidVersion",
    "Linear",
    "ManagementNotAvailable",
    "ManualClock",
    "NonRetryable",
    "Nondeterminism",
    "NondeterministicCode",
    "NotFound",
    "NotRegistered",
    "OrchestrationContext",
    "OrchestrationError",
    "OrchestrationFailed",
    "OrchestrationStatus",
    "Page",
    "Parked",
    "PayloadTooLarge",
    "PerdureError",
    "Poisoned",
    "ProviderError",
    "ProviderImportFailed",
    "ProviderLoadError",
    "ProviderNotInstalled",
    "QueueDepths",
    "Raised",
    "RegistrationError",
    "Registry",
    "RetriedInstances",
    "RetryAfter",
    "RetryPolicy",
    "Running",
    "Runtime",
    "RuntimeOptions",
    "RuntimeStatistics",
    "StartOptions",
    "Storage",
    "StorageClosed",
    "StorageCorrupt",
    "StorageFailed",
    "StorageUnavailable",
    "SubOrchestrationAlreadyExists",
    "SubOrchestrationFailed",
    "SystemClock",
    "SystemMetrics",
    "Terminated",
    "Unregistered",
    "WaitTimeout",
    "activity_context",
    "hookimpl",
    "installed_plugins",
    "open_provider",
    "orchestration_context",
]
