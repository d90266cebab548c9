"""Perdure: ordinary async Python functions that survive crashes, restarts and deployments.

How the files fit together, each knowing only those before it:

- the model: `errors`, `details`, `status`, `clock`, `identifiers`, `versions`, `durations`,
  `payload`, `retry`, `references`
- the contract: `contract/` (what a storage provider promises), `history` and `wire` (what core
  writes into it), `loader` and `plugins` (how providers are found)
- `registry` and `determinism`: which functions are what, and what they must not use
- `replay/`: the engine, without I/O
- `runtime/`: leases, runs, commits
- `client/`: beside them; it reaches a runtime only through the provider
"""

from perdure.client import (
    BlockingClient,
    BlockingHandle,
    Client,
    ExecutionInfo,
    Handle,
    InstanceInfo,
    Page,
    QueueDepths,
    SystemMetrics,
)
from perdure.clock import Clock, ManualClock, SystemClock
from perdure.contract.hooks import hookimpl
from perdure.contract.records import InstanceStatus
from perdure.details import (
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
    Unregistered,
)
from perdure.errors import (
    ActivityFailed,
    ActivityTimeout,
    DuplicateRegistration,
    ForbiddenInOrchestration,
    InstanceAlreadyExists,
    InstanceNotFound,
    InvalidInput,
    ManagementNotAvailable,
    OrchestrationFailed,
    PerdureError,
    ProviderError,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
    WaitTimeout,
)
from perdure.loader import open_provider
from perdure.plugins import installed_plugins
from perdure.registry import Registry
from perdure.replay.context import OrchestrationContext
from perdure.retry import Exponential, Fixed, Linear, RetryPolicy
from perdure.runtime.activity_context import ActivityContext, activity_context
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.runtime import Runtime, RuntimeStatistics
from perdure.status import (
    Completed,
    Failed,
    NotFound,
    OrchestrationStatus,
    Parked,
    Running,
)

__all__ = [
    "ActivityContext",
    "ActivityFailed",
    "ActivityTimeout",
    "ApplicationFailure",
    "BlockingClient",
    "BlockingHandle",
    "Cancelled",
    "Client",
    "Clock",
    "Completed",
    "ConfigurationFailure",
    "Corruption",
    "DuplicateRegistration",
    "ErrorDetails",
    "ExecutionInfo",
    "Exponential",
    "Failed",
    "Fixed",
    "ForbiddenInOrchestration",
    "Handle",
    "InfrastructureFailure",
    "InstanceAlreadyExists",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceStatus",
    "InvalidInput",
    "Linear",
    "ManagementNotAvailable",
    "ManualClock",
    "Nondeterminism",
    "NotFound",
    "OrchestrationContext",
    "OrchestrationFailed",
    "OrchestrationStatus",
    "Page",
    "Parked",
    "PerdureError",
    "Poisoned",
    "ProviderError",
    "QueueDepths",
    "Raised",
    "Registry",
    "RetryPolicy",
    "Running",
    "Runtime",
    "RuntimeOptions",
    "RuntimeStatistics",
    "Storage",
    "SubOrchestrationAlreadyExists",
    "SubOrchestrationFailed",
    "SystemClock",
    "SystemMetrics",
    "Unregistered",
    "WaitTimeout",
    "activity_context",
    "hookimpl",
    "installed_plugins",
    "open_provider",
]
