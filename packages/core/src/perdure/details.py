"""Why something failed: `ErrorDetails` in three categories, each with a kind.

    InfrastructureFailure   Storage, Corruption
    ConfigurationFailure    Unregistered, Nondeterminism
    ApplicationFailure      Raised, Cancelled, Poisoned

Values are plain data that travel as JSON; they never hold an exception object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeAlias, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A function raised an exception that nothing caught."""

    tag: ClassVar[str] = "raised"

    type_name: str
    """The class name of the exception."""
    message: str
    trace: tuple[str, ...] = ()
    """Where it was raised, outermost first, as `module:line function`; no machine paths."""
    causes: tuple[Raised, ...] = ()
    """The exceptions of an exception group."""
    retryable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Somebody asked for the cancellation."""

    tag: ClassVar[str] = "cancelled"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """Work that never came to an end, however often it was tried."""

    tag: ClassVar[str] = "poisoned"

    work: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregistered:
    """No runtime had the function registered for as long as `unregistered_timeout`."""

    tag: ClassVar[str] = "unregistered"

    what: str
    """`orchestration` or `activity`."""
    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nondeterminism:
    """The code disagrees with the history."""

    tag: ClassVar[str] = "nondeterminism"

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The storage failed for good."""

    tag: ClassVar[str] = "storage"

    operation: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """What was stored cannot be read."""

    tag: ClassVar[str] = "corruption"

    message: str


InfrastructureKind: TypeAlias = Storage | Corruption
ConfigurationKind: TypeAlias = Unregistered | Nondeterminism
ApplicationKind: TypeAlias = Raised | Cancelled | Poisoned
Kind: TypeAlias = InfrastructureKind | ConfigurationKind | ApplicationKind


@dataclass(frozen=True, slots=True)
class InfrastructureFailure:
    """The storage or what it holds is at fault."""

    kind: InfrastructureKind

    def category(self) -> str:
        """`infrastructure`."""
        return "infrastructure"

    def is_retryable(self) -> bool:
        """True for a storage that failed, false for what is corrupt."""
        return isinstance(self.kind, Storage)

    def display_message(self) -> str:
        """One line for a person."""
        return _message(self.kind)

    @property
    def type_name(self) -> str:
        """The name of the kind."""
        return type(self.kind).__name__

    @property
    def message(self) -> str:
        """What `display_message` says."""
        return _message(self.kind)


@dataclass(frozen=True, slots=True)
class ConfigurationFailure:
    """The deployment is at fault: what is registered does not fit what is stored."""

    kind: ConfigurationKind

    def category(self) -> str:
        """`configuration`."""
        return "configuration"

    def is_retryable(self) -> bool:
        """False: somebody has to deploy other code."""
        return False

    def display_message(self) -> str:
        """One line for a person."""
        return _message(self.kind)

    @property
    def type_name(self) -> str:
        """The name of the kind."""
        return type(self.kind).__name__

    @property
    def message(self) -> str:
        """What `display_message` says."""
        return _message(self.kind)


@dataclass(frozen=True, slots=True)
class ApplicationFailure:
    """The user's own code or the user's own request ended it."""

    kind: ApplicationKind

    def category(self) -> str:
        """`application`."""
        return "application"

    def is_retryable(self) -> bool:
        """Whether another try may succeed; never after a cancellation or poison."""
        return isinstance(self.kind, Raised) and self.kind.retryable

    def display_message(self) -> str:
        """One line for a person."""
        return _message(self.kind)

    @property
    def type_name(self) -> str:
        """The class name of the exception, or the name of the kind."""
        return self.kind.type_name if isinstance(self.kind, Raised) else type(self.kind).__name__

    @property
    def message(self) -> str:
        """The text of the exception, or what `display_message` says."""
        return self.kind.message if isinstance(self.kind, Raised) else _message(self.kind)


ErrorDetails: TypeAlias = InfrastructureFailure | ConfigurationFailure | ApplicationFailure


def _message(kind: Kind) -> str:
    match kind:
        case Raised(type_name=type_name, message=message, causes=causes):
            text = f"{type_name}: {message}" if message else type_name
            inner = "; ".join(_message(cause) for cause in causes)
            return f"{text} [{inner}]" if inner else text
        case Cancelled(reason=reason):
            return f"canceled: {reason}"
        case Poisoned(work=work, attempts=attempts):
            return f"poison: {work} did not come to an end in {attempts} attempts"
        case Unregistered(what=what, name=name, version=version):
            of = f" version {version}" if version else ""
            return f"{what} {name!r}{of} is not registered in any runtime that looked"
        case Nondeterminism(message=message):
            return f"nondeterminism: {message}"
        case Storage(operation=operation, message=message):
            return f"storage failed in {operation}: {message}"
        case Corruption(message=message):
            return f"corrupt: {message}"


_FAILURES: Mapping[str, type[ErrorDetails]] = {
    "infrastructure": InfrastructureFailure,
    "configuration": ConfigurationFailure,
    "application": ApplicationFailure,
}
_KINDS: Mapping[str, type[Kind]] = {
    kind.tag: kind
    for kind in (Raised, Cancelled, Poisoned, Unregistered, Nondeterminism, Storage, Corruption)
}


def details_to_plain(details: ErrorDetails) -> dict[str, object]:
    """The details as JSON-ready data."""
    return {"category": details.category(), "kind": details.kind.tag, **asdict(details.kind)}


def details_from_plain(plain: Mapping[str, object]) -> ErrorDetails:
    """The details that `details_to_plain` made."""
    fields = dict(plain)
    failure = _FAILURES[str(fields.pop("category"))]
    kind = _KINDS[str(fields.pop("kind"))]
    made = _raised_from_plain(fields) if kind is Raised else kind(**fields)  # pyright: ignore[reportArgumentType] # JSON data, checked by the constructor's names
    return failure(made)  # pyright: ignore[reportArgumentType] # the category was stored beside its kind


def _raised_from_plain(fields: Mapping[str, object]) -> Raised:
    causes = cast("list[Mapping[str, object]]", fields.get("causes", []))
    return Raised(
        type_name=str(fields["type_name"]),
        message=str(fields["message"]),
        trace=tuple(cast("list[str]", fields.get("trace", []))),
        causes=tuple(_raised_from_plain(cause) for cause in causes),
        retryable=bool(fields.get("retryable", True)),
    )
