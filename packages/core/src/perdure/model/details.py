"""Why an instance or an activity failed: `ErrorDetails` in three categories, each with a kind.

    InfrastructureFailure   Storage, Corruption
    ConfigurationFailure    Unregistered, Nondeterminism
    ApplicationFailure      Raised, Cancelled, Terminated, Poisoned

Values are plain data that travel as JSON; they never hold an exception object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeAlias, cast, get_args

from pydantic_core import from_json

from perdure.model.record import record
from perdure.model.shown import shown

Relation: TypeAlias = Literal["", "cause", "context"]
_RELATIONS: tuple[Relation, ...] = get_args(Relation)


def encodable(text: str) -> str:
    """The text with its surrogates, which UTF-8 cannot carry, written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def _all_encodable(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(encodable(text) for text in texts)


@record
class Raised:
    """A function raised an exception that nothing caught."""

    tag: ClassVar[str] = "raised"

    type_name: str
    """The class name of the exception."""
    message: str
    trace: tuple[str, ...] = ()
    """Where it was raised, outermost first, as `module:line function`; no machine paths."""
    causes: tuple[Raised, ...] = ()
    """Its causes: the exceptions of a group, then its `__cause__`, or else its `__context__` unless
    that is suppressed. Each has causes of its own."""
    retryable: bool = True
    bases: tuple[str, ...] = ()
    """The names of the base classes of its class, the nearest first."""
    notes: tuple[str, ...] = ()
    """The notes that `add_note` added."""
    relation: Relation = ""
    """How it relates to the exception that lists it as a cause: `cause` (`raise … from`) or
    `context` (raised while it was handled); empty for a member of a group and for the failure
    itself."""
    data: str | None = None
    """The details of an `ApplicationError`, as JSON text."""
    retry_after: timedelta | None = None
    """The delay of a `RetryAfter`."""

    def __post_init__(self) -> None:
        # Names and texts may have surrogates, which UTF-8 cannot carry. Replaced here, and not
        # when it is encoded, so that a first run sees what a replay sees.
        object.__setattr__(self, "type_name", encodable(self.type_name))
        object.__setattr__(self, "message", encodable(self.message))
        object.__setattr__(self, "trace", _all_encodable(self.trace))
        object.__setattr__(self, "bases", _all_encodable(self.bases))
        object.__setattr__(self, "notes", _all_encodable(self.notes))

    def is_a(self, kind: type[BaseException] | str) -> bool:
        """Whether the exception is of this class or of a subclass, by the name of the class.

        Only the name is compared, because the process that raised the exception may know the
        class by another module, such as `__main__`. A module in front of the name is ignored.
        """
        if isinstance(kind, str):
            name = kind.rpartition(".")[2]
        elif isinstance(kind, type):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            name = kind.__name__
        else:
            raise TypeError(f"{shown(kind)} is no class of exceptions; pass a class or its name")
        return name == self.type_name or name in self.bases


@record
class Cancelled:
    """A client or a parent cancelled the instance."""

    tag: ClassVar[str] = "cancelled"

    reason: str


@record
class Terminated:
    """A client ended the instance at once, without its code: it was terminated or deleted."""

    tag: ClassVar[str] = "terminated"

    reason: str


@record
class Poisoned:
    """Work that was leased repeatedly without an outcome, the last time alone in a process."""

    tag: ClassVar[str] = "poisoned"

    work: str
    attempts: int
    """The number of leases without an outcome; leases that were given back do not count."""


@record
class Unregistered:
    """No runtime had the function, or served the tag, for as long as `unregistered_timeout`."""

    tag: ClassVar[str] = "unregistered"

    what: str
    """`orchestration` or `activity`."""
    name: str
    version: str | None = None
    activity_tag: str | None = None
    """The activity's tag, if no runtime served the tag."""


@record
class Nondeterminism:
    """The code disagrees with the history."""

    tag: ClassVar[str] = "nondeterminism"

    message: str


@record
class Storage:
    """The storage failed, and retrying did not help."""

    tag: ClassVar[str] = "storage"

    operation: str
    message: str


@record
class Corruption:
    """Stored data cannot be read."""

    tag: ClassVar[str] = "corruption"

    message: str


InfrastructureKind: TypeAlias = Storage | Corruption
ConfigurationKind: TypeAlias = Unregistered | Nondeterminism
ApplicationKind: TypeAlias = Raised | Cancelled | Terminated | Poisoned
Kind: TypeAlias = InfrastructureKind | ConfigurationKind | ApplicationKind


@record(kw_only=False)
class _Failure:
    """What the categories share; each narrows `kind`."""

    kind: Kind

    def is_retryable(self) -> bool:
        """Whether a retry may succeed with the same code and data."""
        return False

    def display_message(self) -> str:
        """The failure with its causes, as one line of text."""
        return _message(self.kind)

    @property
    def type_name(self) -> str:
        """The class name of the exception, or the name of the kind."""
        return self.kind.type_name if isinstance(self.kind, Raised) else type(self.kind).__name__

    @property
    def message(self) -> str:
        """The text of the exception, or what `display_message` says."""
        return self.kind.message if isinstance(self.kind, Raised) else _message(self.kind)

    @property
    def causes(self) -> tuple[Raised, ...]:
        """The causes of the exception, each with causes of its own; empty if no exception was raised."""
        return self.kind.causes if isinstance(self.kind, Raised) else ()

    @property
    def data(self) -> Any:
        """The details of an `ApplicationError`, decoded at each access; None if there are none."""
        text = self.kind.data if isinstance(self.kind, Raised) else None
        return None if text is None else from_json(text)

    @property
    def retry_after(self) -> timedelta | None:
        """The delay of a `RetryAfter`; None for other exceptions."""
        return self.kind.retry_after if isinstance(self.kind, Raised) else None

    def is_a(self, kind: type[BaseException] | str) -> bool:
        """Whether an exception of this class, or of a subclass, was raised; by its name."""
        return isinstance(self.kind, Raised) and self.kind.is_a(kind)


@record(kw_only=False)
class InfrastructureFailure(_Failure):
    """The storage, or the data in it, is at fault."""

    kind: InfrastructureKind

    def category(self) -> str:
        """`infrastructure`."""
        return "infrastructure"

    def is_retryable(self) -> bool:
        """True if the storage failed, false if data is corrupt."""
        return isinstance(self.kind, Storage)


@record(kw_only=False)
class ConfigurationFailure(_Failure):
    """The deployment is at fault: what is registered does not fit what is stored.

    Never retryable: other code has to be deployed.
    """

    kind: ConfigurationKind

    def category(self) -> str:
        """`configuration`."""
        return "configuration"


@record(kw_only=False)
class ApplicationFailure(_Failure):
    """The application's own code, or what a client asked for, ended the work."""

    kind: ApplicationKind

    def category(self) -> str:
        """`application`."""
        return "application"

    def is_retryable(self) -> bool:
        """Whether a retry may succeed; never after a cancellation, a termination or poison."""
        return isinstance(self.kind, Raised) and self.kind.retryable


ErrorDetails: TypeAlias = InfrastructureFailure | ConfigurationFailure | ApplicationFailure


def _message(kind: Kind) -> str:
    match kind:
        case Raised():
            return _chain(kind)
        case Cancelled(reason=reason):
            return f"canceled: {reason}"
        case Terminated(reason=reason):
            return f"terminated: {reason}"
        case Poisoned(work=work, attempts=attempts):
            return f"poison: {work} was leased {attempts} times without an outcome"
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


BEFORE: Mapping[Relation, str] = {
    "cause": "caused by",
    "context": "raised while handling",
}
"""The words before a cause in a message, by its relation."""


def _chain(raised: Raised) -> str:
    """The exception, its members in brackets, then its cause."""
    text = headline(raised)
    members = "; ".join(_chain(cause) for cause in raised.causes if not cause.relation)
    if members:
        text = f"{text} [{members}]"
    for cause in raised.causes:
        if cause.relation:
            inner = _chain(cause)
            # The error of failed work says in its own message what the work failed of.
            if not raised.message.endswith(inner):
                text = f"{text}, {BEFORE[cause.relation]} {inner}"
    return text


def headline(raised: Raised) -> str:
    """The class name, the text and the notes of an exception, without its causes."""
    text = f"{raised.type_name}: {raised.message}" if raised.message else raised.type_name
    return f"{text} ({'; '.join(raised.notes)})" if raised.notes else text


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
    kind = details.kind
    plain = _raised_to_plain(kind) if isinstance(kind, Raised) else asdict(kind)
    return {"category": details.category(), "kind": kind.tag, **plain}


def details_from_plain(plain: Mapping[str, object]) -> ErrorDetails:
    """The details that `details_to_plain` made; raises ValueError where it is none.

    Fields that this version does not know are passed over: a newer one may add some. Those that
    an older one did not write have their defaults.
    """
    try:
        failure = _FAILURES[str(plain["category"])]
        kind = _KINDS[str(plain["kind"])]
        if kind not in _KINDS_OF[failure]:
            raise ValueError(f"{failure.__name__} has no kind {kind.tag!r}")
        return failure(_kind_from_plain(kind, plain))  # pyright: ignore[reportArgumentType] # checked above
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"error details cannot be decoded: {error!r}") from error


def _kind_from_plain(kind: type[Kind], plain: Mapping[str, object]) -> Kind:
    if kind is Raised:
        return _raised_from_plain(plain)
    known = {field.name: plain[field.name] for field in fields(kind) if field.name in plain}
    return kind(**known)  # pyright: ignore[reportArgumentType] # JSON data, checked by the constructor's names


def _raised_to_plain(raised: Raised) -> dict[str, object]:
    """Without what has its default: most failures have little to say."""
    plain: dict[str, object] = {
        "type_name": raised.type_name,
        "message": raised.message,
        "trace": raised.trace,
        "causes": [_raised_to_plain(cause) for cause in raised.causes],
        "retryable": raised.retryable,
    }
    for name in ("bases", "notes", "relation"):
        if value := getattr(raised, name):
            plain[name] = value
    if raised.data is not None:
        plain["data"] = raised.data
    if raised.retry_after is not None:
        plain["retry_after"] = raised.retry_after // _MICROSECOND
    return plain


def _raised_from_plain(plain: Mapping[str, object]) -> Raised:
    causes = cast("list[Mapping[str, object]]", plain.get("causes", []))
    relation = plain.get("relation", "")
    data = plain.get("data")
    retry_after = cast("int | None", plain.get("retry_after"))
    return Raised(
        type_name=str(plain["type_name"]),
        message=str(plain["message"]),
        trace=_texts(plain, "trace"),
        causes=tuple(_raised_from_plain(cause) for cause in causes),
        retryable=bool(plain.get("retryable", True)),
        bases=_texts(plain, "bases"),
        notes=_texts(plain, "notes"),
        relation=relation if relation in _RELATIONS else "",
        data=data if isinstance(data, str) else None,
        retry_after=None if retry_after is None else timedelta(microseconds=retry_after),
    )


def _texts(plain: Mapping[str, object], name: str) -> tuple[str, ...]:
    return tuple(cast("list[str]", plain.get(name, [])))


_MICROSECOND = timedelta(microseconds=1)
