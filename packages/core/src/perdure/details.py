"""Why something failed: `ErrorDetails` in three categories, each with a kind.

    InfrastructureFailure   Storage, Corruption
    ConfigurationFailure    Unregistered, Nondeterminism
    ApplicationFailure      Raised, Cancelled, Poisoned

Values are plain data that travel as JSON; they never hold an exception object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, TypeAlias, cast, get_args


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


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

    def __post_init__(self) -> None:
        # File names may have surrogates, which UTF-8 cannot carry. Replaced here, and not when it
        # is encoded, so that a first run sees what a replay sees.
        object.__setattr__(self, "message", _encodable(self.message))
        object.__setattr__(self, "trace", tuple(_encodable(frame) for frame in self.trace))


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
    """No runtime had the function, or served the tag, for as long as `unregistered_timeout`."""

    tag: ClassVar[str] = "unregistered"

    what: str
    """`orchestration` or `activity`."""
    name: str
    version: str | None = None
    activity_tag: str | None = None
    """The activity's tag, where it was the tag that no runtime served."""


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
class _Failure:
    """What the categories share; each narrows `kind`."""

    kind: Kind

    def is_retryable(self) -> bool:
        """Whether another try may succeed with the same code and data."""
        return False

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


@dataclass(frozen=True, slots=True)
class InfrastructureFailure(_Failure):
    """The storage or what it holds is at fault."""

    kind: InfrastructureKind

    def category(self) -> str:
        """`infrastructure`."""
        return "infrastructure"

    def is_retryable(self) -> bool:
        """True for a storage that failed, false for what is corrupt."""
        return isinstance(self.kind, Storage)


@dataclass(frozen=True, slots=True)
class ConfigurationFailure(_Failure):
    """The deployment is at fault: what is registered does not fit what is stored.

    Never retryable: somebody has to deploy other code.
    """

    kind: ConfigurationKind

    def category(self) -> str:
        """`configuration`."""
        return "configuration"


@dataclass(frozen=True, slots=True)
class ApplicationFailure(_Failure):
    """The user's own code or the user's own request ended it."""

    kind: ApplicationKind

    def category(self) -> str:
        """`application`."""
        return "application"

    def is_retryable(self) -> bool:
        """Whether another try may succeed; never after a cancellation or poison."""
        return isinstance(self.kind, Raised) and self.kind.retryable


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
        case Unregistered(what=what, name=name, activity_tag=str(activity_tag)):
            return f"no runtime that looked serves the tag {activity_tag!r} of {what} {name!r}"
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
_KINDS_OF: Mapping[type[ErrorDetails], tuple[type[Kind], ...]] = {
    InfrastructureFailure: get_args(InfrastructureKind),
    ConfigurationFailure: get_args(ConfigurationKind),
    ApplicationFailure: get_args(ApplicationKind),
}
_KINDS: Mapping[str, type[Kind]] = {
    kind.tag: kind for kinds in _KINDS_OF.values() for kind in kinds
}


def details_to_plain(details: ErrorDetails) -> dict[str, object]:
    """The details as JSON-ready data."""
    return {"category": details.category(), "kind": details.kind.tag, **asdict(details.kind)}


def details_from_plain(plain: Mapping[str, object]) -> ErrorDetails:
    """The details that `details_to_plain` made; raises ValueError where it is none.

    Fields that this version does not know are passed over: a newer one may add some.
    """
    try:
        failure = _FAILURES[str(plain["category"])]
        kind = _KINDS[str(plain["kind"])]
        if kind not in _KINDS_OF[failure]:
            raise ValueError(f"{failure.__name__} has no kind {kind.tag!r}")
        return failure(_kind_from_plain(kind, plain))  # pyright: ignore[reportArgumentType] # checked above
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"error details cannot be decoded: {error!r}") from error


def _kind_from_plain(kind: type[Kind], plain: Mapping[str, object]) -> Kind:
    if kind is Raised:
        return _raised_from_plain(plain)
    known = {field.name: plain[field.name] for field in fields(kind) if field.name in plain}
    return kind(**known)  # pyright: ignore[reportArgumentType] # JSON data, checked by the constructor's names


def _raised_from_plain(plain: Mapping[str, object]) -> Raised:
    causes = cast("list[Mapping[str, object]]", plain.get("causes", []))
    return Raised(
        type_name=str(plain["type_name"]),
        message=str(plain["message"]),
        trace=tuple(cast("list[str]", plain.get("trace", []))),
        causes=tuple(_raised_from_plain(cause) for cause in causes),
        retryable=bool(plain.get("retryable", True)),
    )
