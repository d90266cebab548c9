"""Turns an exception into plain data of bounded size, and never raises.

A class may replace its name, its text, its cause or its `__class__` with anything. These are read
from the interpreter's own fields; the text, which only the class can produce, is read with every
exception caught.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from perdure.diagnostics.frames import is_user_code, module_of
from perdure.errors import (
    ActivityFailed,
    ActivityTimeout,
    OrchestrationFailed,
    SubOrchestrationFailed,
)
from perdure.model.application_errors import ApplicationError, NonRetryable, RetryAfter
from perdure.model.details import (
    ApplicationFailure,
    ConfigurationFailure,
    ErrorDetails,
    InfrastructureFailure,
    Raised,
    Relation,
    encodable,
)

_MOST_FRAMES = 40
_MOST_BASES = 32
_MOST_NOTES = 16
_MOST_MEMBERS = 10
_MOST_EXCEPTIONS = 32
"""In one failure, including the causes of its causes."""
_DEEPEST = 12
"""The longest chain of causes; JSON that is nested deeper may be unreadable."""
_LONGEST_MESSAGE = 32_768
_LONGEST_INNER_MESSAGE = 4_096
_LONGEST_NOTE = 2_048
_LONGEST_NAME = 256
_MOST_TEXT = 131_072
"""In characters; the text becomes part of histories, statuses and messages."""

_NAME = type.__dict__["__name__"].__get__
_ANCESTRY = type.__dict__["__mro__"].__get__
_TRACEBACK = BaseException.__dict__["__traceback__"].__get__
_CAUSE = BaseException.__dict__["__cause__"].__get__
_CONTEXT = BaseException.__dict__["__context__"].__get__
_SUPPRESSED = BaseException.__dict__["__suppress_context__"].__get__
_MEMBERS = BaseExceptionGroup.__dict__["exceptions"].__get__

_OF_WORK = (ActivityFailed, SubOrchestrationFailed, OrchestrationFailed)
"""Errors that carry the details of another failure."""


def ends_the_process(error: BaseException) -> bool:
    """Whether it is the interrupt of the process (Ctrl-C), which is no outcome of user code."""
    return (
        issubclass(type(error), KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


def base_names(kind: type) -> tuple[str, ...]:
    """The names of the base classes, the nearest first."""
    ancestry = cast("tuple[type, ...]", _ANCESTRY(kind))
    return tuple(class_name(base) for base in ancestry[1 : _MOST_BASES + 1] if base is not object)


def timed_out(limit: str, *, retryable: bool) -> ApplicationFailure:
    """The details of an `ActivityTimeout`; `limit` names the setting of the policy."""
    return _timeout(f"it did not finish within {limit}", retryable=retryable)


def not_begun() -> ApplicationFailure:
    """The details of an `ActivityTimeout` of an activity that no worker began in time."""
    return _timeout("it did not begin within start_timeout", retryable=False)


def _timeout(message: str, *, retryable: bool) -> ApplicationFailure:
    return ApplicationFailure(
        Raised(
            type_name=ActivityTimeout.__name__,
            message=message,
            bases=base_names(ActivityTimeout),
            retryable=retryable,
        )
    )


def is_timeout(details: ErrorDetails) -> bool:
    """Whether these are the details of an `ActivityTimeout`."""
    kind = details.kind
    return (
        isinstance(kind, Raised)
        and kind.type_name == ActivityTimeout.__name__
        and kind.bases == base_names(ActivityTimeout)
    )


def class_name(kind: type) -> str:
    """The name of a class, read without its metaclass."""
    return cast("str", _NAME(kind))[:_LONGEST_NAME]


def describe(error: BaseException, *, paths: bool = False) -> Raised:
    """The exception as data, with its chain of causes, its notes and the members of groups.

    Frames of Perdure and asyncio are omitted, and messages are cut at 32,768 characters. With
    `paths`, the trace has full file names. Causes get less room than the exception itself; a note
    tells how many were omitted.
    """
    try:
        return _Description(paths=paths).of(error)
    except BaseException:  # noqa: BLE001 # an exception that cannot be described is reported all the same
        return Raised(type_name=class_name(type(error)), message="(it could not be described)")


class _Description:
    """What is left of the room that one failure may take."""

    def __init__(self, *, paths: bool) -> None:
        self._paths = paths
        self._text_left = _MOST_TEXT
        self._exceptions_left = _MOST_EXCEPTIONS
        self._within: list[BaseException] = []
        """The exceptions whose causes are being described."""

    def of(self, error: BaseException, relation: Relation = "") -> Raised:
        """The exception with all that it comes from."""
        self._exceptions_left -= 1
        longest = _LONGEST_INNER_MESSAGE if self._within else _LONGEST_MESSAGE
        kind = type(error)
        raised = Raised(
            type_name=class_name(kind),
            message=self._cut(_text(error), longest),
            trace=self._trace(error),
            retryable=not issubclass(kind, NonRetryable),
            bases=base_names(kind),
            notes=tuple(self._cut(note, _LONGEST_NOTE) for note in _notes(error)),
            relation=relation,
            data=_data(error),
            retry_after=_retry_after(error),
        )
        self._within.append(error)
        causes, left_out = self._causes(error)
        self._within.pop()
        if left_out:
            return replace(raised, causes=causes, notes=(*raised.notes, _left_out(left_out)))
        return replace(raised, causes=causes) if causes else raised

    def _causes(self, error: BaseException) -> tuple[tuple[Raised, ...], int]:
        """What it comes from, and how many there was no room for."""
        members = _members(error)
        causes: list[Raised] = []
        left_out = max(0, len(members) - _MOST_MEMBERS)
        elsewhere = _from_elsewhere(error)
        if elsewhere is not None:
            if self._has_room():
                causes.append(self._again(elsewhere, len(self._within), "cause"))
            else:
                left_out += 1
        inner: list[tuple[BaseException, Relation]] = [
            (member, "") for member in members[:_MOST_MEMBERS]
        ]
        for origin, relation in (*inner, *_origin(error)):
            if any(origin is outer for outer in self._within):
                continue
            if self._has_room():
                causes.append(self.of(origin, relation))
            else:
                left_out += 1
        return tuple(causes), left_out

    def _has_room(self) -> bool:
        return self._exceptions_left > 0 and len(self._within) < _DEEPEST

    def _again(self, raised: Raised, depth: int, relation: Relation) -> Raised:
        """What was described before, elsewhere, in the room that is left here."""
        self._exceptions_left -= 1
        causes = [
            self._again(cause, depth + 1, cause.relation)
            for cause in raised.causes
            if depth + 1 < _DEEPEST and self._exceptions_left > 0
        ]
        missing = len(raised.causes) - len(causes)
        return replace(
            raised,
            message=self._cut(raised.message, _LONGEST_INNER_MESSAGE),
            trace=tuple(self._cut(frame, _LONGEST_NAME) for frame in raised.trace),
            causes=tuple(causes),
            notes=(*raised.notes, _left_out(missing)) if missing else raised.notes,
            relation=relation,
        )

    def _trace(self, error: BaseException) -> tuple[str, ...]:
        frames = list(_frames(error, paths=self._paths))[-_MOST_FRAMES:]
        return tuple(self._cut(frame, 2 * _LONGEST_NAME) for frame in frames)

    def _cut(self, text: str, longest: int) -> str:
        """The text as far as there is room, and how much is missing."""
        longest = min(longest, self._text_left)
        more = len(text) - longest
        self._text_left -= len(text) if more <= 0 else longest
        return text if more <= 0 else f"{text[:longest]}… ({more} more characters)"


def _left_out(number: int) -> str:
    return f"{number} more of what it comes from is left out"


def _text(error: BaseException) -> str:
    try:
        # An exact str: a class of its own could do anything at the next touch.
        return encodable(str.__str__(str(error)))
    except BaseException:  # noqa: BLE001 # a user's __str__ must not hide the failure
        return "(its message could not be made)"


def _notes(error: BaseException) -> Iterator[str]:
    try:
        notes = cast("object", error.__notes__)
        if issubclass(type(notes), list | tuple):
            for note in list(cast("Sequence[object]", notes))[:_MOST_NOTES]:
                yield encodable(str.__str__(str(note)))
    except BaseException:  # noqa: BLE001 # there are none, or none that can be had
        return


def _frames(error: BaseException, *, paths: bool) -> Iterator[str]:
    for frame, line in traceback.walk_tb(_TRACEBACK(error)):
        try:
            if is_user_code(frame):
                where = frame.f_code.co_filename if paths else module_of(frame)
                yield f"{where}:{line} {frame.f_code.co_qualname}"
        except BaseException:  # noqa: BLE001 # the globals of generated code hold anything
            yield f"?:{line} {frame.f_code.co_qualname}"


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    return cast("tuple[BaseException, ...]", _MEMBERS(error))


def _origin(error: BaseException) -> list[tuple[BaseException, Relation]]:
    """What Python would show above it."""
    cause = cast("BaseException | None", _CAUSE(error))
    if cause is not None:
        return [(cause, "cause")]
    context = cast("BaseException | None", _CONTEXT(error))
    return [] if context is None or _SUPPRESSED(error) else [(context, "context")]


def _from_elsewhere(error: BaseException) -> Raised | None:
    """What failed work was told to have raised, or why it failed without having raised."""
    details = _own(error, "details") if issubclass(type(error), _OF_WORK) else None
    if type(details) not in (ApplicationFailure, ConfigurationFailure, InfrastructureFailure):
        return None
    told = cast("ErrorDetails", details)
    if type(told.kind) is Raised:
        return told.kind
    return Raised(type_name=told.type_name, message=told.message, retryable=False)


def _data(error: BaseException) -> str | None:
    text = _own(error, "details_text") if issubclass(type(error), ApplicationError) else None
    return text if type(text) is str else None


def _retry_after(error: BaseException) -> timedelta | None:
    delay = _own(error, "delay") if issubclass(type(error), RetryAfter) else None
    return delay if type(delay) is timedelta else None


def _own(error: BaseException, name: str) -> Any:
    try:
        return getattr(error, name, None)
    except BaseException:  # noqa: BLE001 # a subclass may compute it
        return None
