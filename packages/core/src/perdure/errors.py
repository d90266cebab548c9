"""Every error that Perdure raises, under one root.

    PerdureError
    ├── InvalidInput (ValueError)            refused at the edge, before anything is stored
    │   ├── InvalidIdentifier
    │   ├── InvalidVersion
    │   ├── InvalidPayload                   not JSON, or not what the type asks for
    │   ├── PayloadTooLarge
    │   └── InvalidDuration
    ├── RegistrationError
    │   ├── DuplicateRegistration
    │   ├── InvalidSignature
    │   ├── NondeterministicCode             a use of clocks, randomness or I/O found in the code
    │   └── NotRegistered
    ├── ForbiddenInOrchestration (RuntimeError)   asked of an orchestration what cannot be replayed
    ├── ProviderLoadError
    │   ├── InvalidProviderUrl (ValueError)
    │   ├── ProviderNotInstalled
    │   ├── AmbiguousProvider
    │   ├── ProviderImportFailed
    │   ├── ContractMismatch
    │   └── InvalidProviderOption (ValueError)
    ├── InstanceAlreadyExists                an answer: the id is in use, and nothing was changed
    ├── InstanceNotFound                     an answer: no instance has this id
    ├── InstanceRunning                      an answer: the call needs an instance that has ended
    ├── ExecutionNotFound                    an answer: the instance has no execution of this number
    ├── ValueNotFound                        an answer: the instance ended without this value
    ├── ProviderError                        the storage refused or failed; `operation`, `retryable`
    │   ├── HistoryConflict
    │   ├── LeaseLost
    │   │   └── ActivityLeaseLost            `activities`: the ids whose lease is gone
    │   ├── StorageUnavailable               retryable: busy, throttled, unreachable
    │   ├── StorageFailed                    not retryable: full, read-only, refused
    │   │   └── StorageClosed                the provider is not open
    │   ├── TransactionRefused               what a transactional activity wrote was refused
    │   └── StorageCorrupt                   what is stored cannot be read
    ├── CapabilityMissing                    the provider lacks what the call needs; `capability`
    │   └── ManagementNotAvailable
    ├── ClientUnusable (RuntimeError)        a client: closed, in a fork, or blocking its own loop
    ├── WaitTimeout (TimeoutError)
    ├── OrchestrationFailed                  `details`: why the instance failed
    ├── OrchestrationError                   what an orchestration sees of the work that it scheduled
    │   ├── ActivityFailed
    │   │   └── ActivityTimeout (TimeoutError)
    │   ├── SubOrchestrationFailed
    │   └── SubOrchestrationAlreadyExists
    └── ApplicationError                     raised by your own code (`perdure.model.application_errors`)
        ├── NonRetryable
        └── RetryAfter

Messages are one lower-case sentence with the offending value and what to do next.
Code that reacts to an error reads its class and its attributes, never its text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from perdure.model.details import ErrorDetails
from perdure.model.shown import shown
from perdure.model.status import Parked


class PerdureError(Exception):
    """The root of every error that Perdure raises. Pickles and copies with its attributes."""

    def __reduce__(self) -> tuple[object, ...]:
        # Not by calling the class again: its arguments are not those of the message.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    kind: type[PerdureError], args: tuple[object, ...], state: dict[str, object]
) -> PerdureError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidInput(PerdureError, ValueError):
    """A value was refused at the edge; nothing was stored."""


class InvalidIdentifier(InvalidInput):
    """An instance id, a name or an event name breaks the rule for identifiers."""


class InvalidVersion(InvalidInput):
    """A version text is not a semantic version such as `1.4.0`."""


class InvalidPayload(InvalidInput):
    """A text is not JSON, or a value does not fit the type that it was declared with."""

    reason: str = ""
    """What does not fit, and where, of a text that does not fit its type."""


class PayloadTooLarge(InvalidInput):
    """A payload is larger than the documented limit of 16 MiB of JSON text."""


class InvalidDuration(InvalidInput):
    """A duration is negative, not finite, or outside the range that the call allows."""


class RegistrationError(PerdureError):
    """A function cannot be registered, or a registered one cannot be found."""


class DuplicateRegistration(RegistrationError):
    """The same kind, name and version was registered twice."""


class InvalidSignature(RegistrationError):
    """A function's signature or annotations do not fit what it was registered as."""


class NondeterministicCode(RegistrationError):
    """An orchestration uses what would differ in replay: a clock, randomness, threads or I/O."""


class NotRegistered(RegistrationError):
    """A function reference was used that no registry knows by name."""


class ForbiddenInOrchestration(PerdureError, RuntimeError):
    """An orchestration asked for something that cannot be replayed.

    Caught or not, it ends the turn: the instance is parked until code is deployed that does without.
    """


class ProviderLoadError(PerdureError):
    """A provider could not be found, loaded or opened."""


class InvalidProviderUrl(ProviderLoadError, ValueError):
    """A provider URL cannot be read."""


class ProviderNotInstalled(ProviderLoadError):
    """No installed distribution registers the URL's scheme."""


class AmbiguousProvider(ProviderLoadError):
    """Two installed distributions register the same scheme."""


class ProviderImportFailed(ProviderLoadError):
    """The provider's plugin module could not be imported or is not a plugin; the cause is kept."""


class ContractMismatch(ProviderLoadError):
    """The provider was written for a version of the contract that this core does not serve."""


class InvalidProviderOption(ProviderLoadError, ValueError):
    """A provider option is unknown or has a value that it cannot have."""


class InstanceAlreadyExists(PerdureError):
    """The instance id is in use, in whatever state; nothing was changed."""

    def __init__(self, instance: str) -> None:
        super().__init__(
            f"instance {instance!r} already exists; choose another id, or look at it with"
            " get_orchestration_status"
        )
        self.instance = instance


class InstanceNotFound(PerdureError):
    """No instance has this id."""

    def __init__(self, instance: str) -> None:
        super().__init__(f"instance {instance!r} does not exist; check the id and the namespace")
        self.instance = instance


class InstanceRunning(PerdureError):
    """The instance is running, and the call needs one that has ended; nothing was changed."""

    def __init__(self, instance: str, *, instead: str = "cancel it, or pass force=True") -> None:
        super().__init__(f"instance {instance!r} is running; wait for its end, or {instead}")
        self.instance = instance


class ValueNotFound(PerdureError):
    """The instance has ended without a value under this key, which can therefore not come."""

    def __init__(self, instance: str, key: str) -> None:
        super().__init__(
            f"instance {instance!r} ended without a value {shown(key)}; get_values shows those that"
            " it has"
        )
        self.instance = instance
        self.key = key


class ExecutionNotFound(PerdureError):
    """The instance exists but has no execution of this number."""

    def __init__(self, instance: str, execution: int) -> None:
        super().__init__(
            f"instance {instance!r} has no execution {shown(execution)}; list_executions names them"
        )
        self.instance = instance
        self.execution = execution


class ProviderError(PerdureError):
    """A storage operation was refused or failed.

    What the storage answers correctly is none of these: see `InstanceAlreadyExists`,
    `InstanceNotFound` and `ExecutionNotFound`.

    `operation` is the contract method, `retryable` whether the same call may succeed later.
    The driver's own exception, where there is one, is the `__cause__`.
    """

    retryable: bool = False

    def __init__(self, message: str, *, operation: str, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        if retryable is not None:
            self.retryable = retryable


class HistoryConflict(ProviderError):
    """A call expected another execution or last event than the instance has; nothing was changed."""

    def __init__(
        self,
        instance: str,
        *,
        expected: tuple[int, int],
        found: tuple[int, int],
        operation: str = "commit_turn",
    ) -> None:
        super().__init__(
            f"instance {instance!r} is at execution {found[0]}, event {found[1]}, and {operation}"
            f" expected execution {expected[0]}, event {expected[1]}; read its history again",
            operation=operation,
        )
        self.instance = instance
        self.expected = expected
        self.found = found


class LeaseLost(ProviderError):
    """A lease was taken over or given back, or its instance is gone; nothing was changed."""

    def __init__(self, instance: str, *, operation: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"the lease of instance {instance!r} is gone; another runtime may run it now",
            operation=operation,
        )
        self.instance = instance


class ActivityLeaseLost(LeaseLost):
    """Leases of activities were taken over or given back, or the activities are void."""

    def __init__(self, instance: str, activities: Iterable[str], *, operation: str) -> None:
        self.activities = tuple(activities)
        named = ", ".join(repr(activity) for activity in self.activities)
        super().__init__(
            instance,
            operation=operation,
            message=f"the lease of activity {named} of instance {instance!r} is gone; its result"
            " is not wanted any more",
        )


class StorageUnavailable(ProviderError):
    """The storage is busy, throttled or out of reach; the same call may succeed later."""

    retryable = True


class StorageFailed(ProviderError):
    """The storage refused: full, read-only, no permission, wrong shape."""


class StorageClosed(StorageFailed):
    """The provider was not opened, is closed again, or was opened before a fork."""


class StorageCorrupt(ProviderError):
    """What is stored cannot be read."""


class TransactionRefused(ProviderError):
    """The database refused at its commit what a transactional activity wrote; nothing was changed.

    The activity has failed; the driver's own exception is the `__cause__`.
    """


class CapabilityMissing(PerdureError):
    """The provider lacks a capability that the call needs; nothing was changed."""

    def __init__(self, capability: str, provider: str, *, what: str = "") -> None:
        super().__init__(
            f"{what or capability} not available on {provider}; use a provider that declares the"
            f" capability {capability!r}"
        )
        self.capability = capability
        self.provider = provider


class ManagementNotAvailable(CapabilityMissing):
    """The provider has no management capability."""

    def __init__(self, provider: str) -> None:
        super().__init__("management", provider, what="management features")


class ClientUnusable(PerdureError, RuntimeError):
    """The client or its provider was closed, it was used in a fork of the process that opened the
    provider, or a blocking one was called in the thread of the provider's event loop."""


class WaitTimeout(PerdureError, TimeoutError):
    """The instance had not ended, or not done what the caller waited for, when the time was over.

    `parked` is the reason why it did not move, where there is one.
    """

    def __init__(
        self,
        instance: str,
        timeout: timedelta,
        *,
        exists: bool = True,
        parked: Parked | None = None,
        waited_for: str = "end",
    ) -> None:
        if not exists:
            why = "no such instance exists yet; check the id, or start it"
        elif parked is not None:
            why = f"it is parked ({parked.reason}): {parked.details}"
        else:
            why = "it is still running; wait longer"
        super().__init__(
            f"instance {instance!r} did not {waited_for} within {timeout.total_seconds():g} s: {why}"
        )
        self.instance = instance
        self.timeout = timeout
        self.exists = exists
        self.parked = parked


class OrchestrationFailed(PerdureError):
    """The instance ended as Failed; `details` says why."""

    def __init__(self, instance: str, details: ErrorDetails) -> None:
        super().__init__(f"instance {instance!r} failed: {details.display_message()}")
        self.instance = instance
        self.details = details


class OrchestrationError(PerdureError):
    """What an orchestration sees of scheduled work that did not succeed."""


class ActivityFailed(OrchestrationError):
    """An activity raised, and its retries, if any, are used up.

    `type_name` is the class name of what it raised, `message` its text, `details` the whole.
    """

    def __init__(self, activity: str, details: ErrorDetails) -> None:
        super().__init__(f"activity {activity!r} failed: {details.display_message()}")
        self.activity = activity
        self.details = details

    @property
    def type_name(self) -> str:
        """The class name of the exception that the activity raised."""
        return self.details.type_name

    @property
    def message(self) -> str:
        """The text of the exception that the activity raised."""
        return self.details.message

    @property
    def data(self) -> Any:
        """The details that the activity raised it with (`ApplicationError`), decoded from JSON."""
        return self.details.data

    @property
    def retry_after(self) -> timedelta | None:
        """When to try again, where the activity raised `RetryAfter`."""
        return self.details.retry_after

    def is_a(self, kind: type[BaseException] | str) -> bool:
        """Whether the activity raised an exception of this class, or of a subclass.

        By the class's name: the process that ran the activity may know it by another module.
        """
        return self.details.is_a(kind)


class ActivityTimeout(ActivityFailed, TimeoutError):
    """An activity did not finish within its policy's `attempt_timeout` or `total_timeout`."""


class SubOrchestrationFailed(OrchestrationError):
    """A child orchestration ended as Failed; `details` says why."""

    def __init__(self, instance: str, orchestration: str, details: ErrorDetails) -> None:
        super().__init__(
            f"sub-orchestration {orchestration!r} ({instance!r}) failed:"
            f" {details.display_message()}"
        )
        self.instance = instance
        self.orchestration = orchestration
        self.details = details


class SubOrchestrationAlreadyExists(OrchestrationError):
    """The id that was chosen for a child is in use; the existing instance is unaffected."""

    def __init__(self, instance: str, orchestration: str) -> None:
        super().__init__(
            f"sub-orchestration {orchestration!r} was not started: instance {instance!r}"
            " already exists; choose another id"
        )
        self.instance = instance
        self.orchestration = orchestration
