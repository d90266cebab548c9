"""Perdure: ordinary async Python functions that survive crashes, restarts and deployments.

Each folder imports only from those above it:

- `encoding/`: values as JSON, checked so that what is written comes back
- `model/`, with `errors` and `clock`: plain values that everything speaks of
- `records/`, with `history` and `observe`: what is stored, and what observers are told
- `diagnostics/`: exceptions as plain data, frames of user code, log lines
- `contract/`: what a storage provider promises
- `providers/`: how providers are found and opened
- `authoring/`: registering orchestrations and activities, and what is checked of their code
- `replay/`: the engine, without I/O; it knows no provider
- `client/`: starts and watches instances, and reaches a runtime only through the provider
- `runtime/`: leases work, runs it, commits what came of it
- `testing/`: an application in a test, and replay checks

The names are imported when they are first used: a process that only starts instances never loads
the runtime and the replay engine.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.authoring.registry import Registry
    from perdure.authoring.retry import Exponential, Fixed, Linear, RetryPolicy
    from perdure.client import (
        BlockingClient,
        BlockingHandle,
        BlockingWatch,
        Client,
        ExecutionInfo,
        Handle,
        InstanceDescription,
        InstanceFilter,
        InstanceInfo,
        InstanceTree,
        InstanceWatch,
        KeptEvent,
        OpenActivity,
        OpenTimer,
        OpenWait,
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
        ValueNotFound,
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
        EventArrival,
        Failed,
        NotFound,
        OrchestrationStatus,
        Parked,
        Running,
    )
    from perdure.providers.installed import InstalledProvider, installed_providers
    from perdure.providers.loader import open_provider
    from perdure.providers.plugins import installed_plugins
    from perdure.records.history_document import ExecutionHistory, HistoryDocument
    from perdure.records.instances import InstanceStatus
    from perdure.replay.context import OrchestrationContext, orchestration_context
    from perdure.runtime.activity_context import ActivityContext, activity_context
    from perdure.runtime.health import FailedStorageCall
    from perdure.runtime.options import Retention, RuntimeOptions
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
    "BlockingWatch",
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
    "EventArrival",
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
    "InstalledProvider",
    "InstanceAlreadyExists",
    "InstanceDescription",
    "InstanceFilter",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceRunning",
    "InstanceStatus",
    "InstanceTree",
    "InstanceWatch",
    "InvalidDuration",
    "InvalidIdentifier",
    "InvalidInput",
    "InvalidPayload",
    "InvalidProviderOption",
    "InvalidProviderUrl",
    "InvalidSignature",
    "InvalidVersion",
    "KeptEvent",
    "Linear",
    "ManagementNotAvailable",
    "ManualClock",
    "NonRetryable",
    "Nondeterminism",
    "NondeterministicCode",
    "NotFound",
    "NotRegistered",
    "OpenActivity",
    "OpenTimer",
    "OpenWait",
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
    "Retention",
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
    "ValueNotFound",
    "WaitTimeout",
    "activity_context",
    "hookimpl",
    "installed_plugins",
    "installed_providers",
    "open_provider",
    "orchestration_context",
]

_NAMES_OF: Final = {
    "perdure.authoring.registry": "Registry",
    "perdure.authoring.retry": "Exponential Fixed Linear RetryPolicy",
    "perdure.client": (
        "BlockingClient BlockingHandle BlockingWatch Client ExecutionInfo Handle "
        "InstanceDescription InstanceFilter InstanceInfo InstanceTree InstanceWatch KeptEvent "
        "OpenActivity OpenTimer OpenWait Page QueueDepths RetriedInstances StartOptions "
        "SystemMetrics"
    ),
    "perdure.clock": "Clock ManualClock SystemClock",
    "perdure.contract.hooks": "hookimpl",
    "perdure.errors": (
        "ActivityFailed ActivityTimeout AmbiguousProvider CapabilityMissing ClientUnusable "
        "ContractMismatch DuplicateRegistration ExecutionNotFound ForbiddenInOrchestration "
        "InstanceAlreadyExists InstanceNotFound InstanceRunning InvalidDuration InvalidIdentifier "
        "InvalidInput InvalidPayload InvalidProviderOption InvalidProviderUrl InvalidSignature "
        "InvalidVersion ManagementNotAvailable NondeterministicCode NotRegistered "
        "OrchestrationError OrchestrationFailed PayloadTooLarge PerdureError ProviderError "
        "ProviderImportFailed ProviderLoadError ProviderNotInstalled RegistrationError "
        "StorageClosed StorageCorrupt StorageFailed StorageUnavailable "
        "SubOrchestrationAlreadyExists SubOrchestrationFailed ValueNotFound WaitTimeout"
    ),
    "perdure.model.application_errors": "ApplicationError NonRetryable RetryAfter",
    "perdure.model.details": (
        "ApplicationFailure Cancelled ConfigurationFailure Corruption ErrorDetails "
        "InfrastructureFailure Nondeterminism Poisoned Raised Storage Terminated Unregistered"
    ),
    "perdure.model.status": (
        "Completed EventArrival Failed NotFound OrchestrationStatus Parked Running"
    ),
    "perdure.providers.installed": "InstalledProvider installed_providers",
    "perdure.providers.loader": "open_provider",
    "perdure.providers.plugins": "installed_plugins",
    "perdure.records.history_document": "ExecutionHistory HistoryDocument",
    "perdure.records.instances": "InstanceStatus",
    "perdure.replay.context": "OrchestrationContext orchestration_context",
    "perdure.runtime.activity_context": "ActivityContext activity_context",
    "perdure.runtime.health": "FailedStorageCall",
    "perdure.runtime.options": "Retention RuntimeOptions",
    "perdure.runtime.runtime": "Runtime RuntimeStatistics",
}
"""The module of each name, as the imports for type checkers above have it."""

_MODULE_OF: Final = {name: module for module, names in _NAMES_OF.items() for name in names.split()}
_SUBMODULES: Final = frozenset({"clock", "codecs", "contract", "errors", "history", "observe"})


def __getattr__(name: str) -> object:
    """Import a public name, or a public module, when it is used for the first time."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if (module := _MODULE_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(module), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
