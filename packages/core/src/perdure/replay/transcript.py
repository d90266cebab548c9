"""The growing history of a live execution: numbers what happens, and holds the code to it.

Live, a command becomes the next event. In replay the history is there already, and every command
is compared with it at the moment the code asks, so that a difference is found at the first
differing command, with the user's line at hand. The first difference closes the transcript:
nothing that is asked for afterwards has an effect.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields as fields_of
from typing import cast

from perdure.details import Cancelled, ErrorDetails, Raised
from perdure.frames import is_user_code, module_of
from perdure.history import (
    INCOMING,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
    TimerCreated,
)
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.signals import HistoryMismatch, UndecodableData

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Transcript:
    """The events of one execution, from either side: noted live, compared in replay."""

    __slots__ = (
        "_code",
        "_cursor",
        "_history",
        "_loop",
        "_started",
        "closed",
        "events",
        "last_event",
        "mismatch",
        "replaying",
        "terminal",
    )

    def __init__(self, started: OrchestrationStarted, code: str, loop: OrchestrationLoop) -> None:
        self._started = started
        self._code = code
        """Name and version of the orchestration, for messages."""
        self._loop = loop
        self._history: Sequence[Event] = ()
        self._cursor = 0
        self.last_event = 0
        self.events: list[Event] = []
        """What happened since the last turn was taken."""
        self.replaying = False
        self.mismatch: HistoryMismatch | None = None
        self.terminal: Event | None = None
        self.closed = False
        """Whether nothing that is asked for has an effect any more."""

    @property
    def effective(self) -> bool:
        """Whether a command has effects to carry out: neither in replay nor after the end."""
        return not (self.replaying or self.closed)

    def ask(self, kind: type[Event], **fields: object) -> int:
        """Note a command, or in replay compare it with the history; returns its number."""
        if self.closed:
            return self.last_event
        number = self.last_event + 1
        if self.replaying:
            self._compare(kind, fields)
        else:
            make = cast("Callable[..., Event]", kind)
            self.events.append(make(event_id=number, at=self._loop.now, **fields))
        self.last_event = number
        return number

    def end(self, kind: type[Event], **fields: object) -> Event | None:
        """Ask for a terminal event; returns it where its effects are to be carried out."""
        live = self.effective
        self.ask(kind, **fields)
        self.closed = True
        self._loop.halt()
        if self.mismatch is not None:
            return None
        self.terminal = self.events[-1] if live else self._history[self._cursor - 1]
        return self.terminal if live else None

    # Replay

    def begin_replay(self, history: Sequence[Event]) -> None:
        """Hold the code to this history until `end_replay`."""
        self.replaying = True
        self._history = history

    def end_replay(self) -> None:
        """Note what comes from now on."""
        self.replaying = False
        self._history = ()

    def next_incoming(self) -> Event | None:
        """The next event to deliver; None at the end of the history.

        Raises `HistoryMismatch` where the history has a command that the code did not ask for.
        """
        if self.mismatch is not None:
            raise self.mismatch
        if self._cursor >= len(self._history):
            return None
        event = self._history[self._cursor]
        if event.event_id != self.last_event + 1:
            raise UndecodableData(
                f"the history of instance {self._started.instance!r} has event {event.event_id}"
                f" where {self.last_event + 1} is due; restore it from a copy"
            )
        if self.terminal is not None or not isinstance(event, INCOMING):
            if self.terminal is not None or not _is_imposed(event):
                raise self._difference(event, "nothing", "")
            self.terminal = event
            self.closed = True
            self.last_event = event.event_id
        self._cursor += 1
        return event

    def _compare(self, kind: type[Event], fields: Mapping[str, object]) -> None:
        expected = self._history[self._cursor] if self._cursor < len(self._history) else None
        self._cursor += 1
        if expected is None or type(expected) is not kind or not _agree(expected, fields):
            self.mismatch = self._difference(expected, _show(kind, fields), self._where())
            self.closed = True
            self._loop.halt()

    def _difference(self, expected: Event | None, found: str, where: str) -> HistoryMismatch:
        number = expected.event_id if expected is not None else self.last_event + 1
        has = "nothing" if expected is None else _show_event(expected)
        at = f" at {where}" if where else ""
        began = self._started.python
        python = f"; the history began on Python {began}, this is {PYTHON}"
        message = (
            f"event {number} of instance {self._started.instance!r}: the history has {has}, and"
            f" the code of {self._code} asked for {found}{at}{python if began != PYTHON else ''};"
            " deploy the code that wrote this history, or register the changed code under a new"
            " version"
        )
        return HistoryMismatch(message, event_id=number, expected=has, found=found, where=where)

    def _where(self) -> str:
        """The innermost line of the user's own code."""
        frame = inspect.currentframe()
        while frame is not None:
            code = frame.f_code
            if code is OrchestrationLoop.run_until_quiet.__code__:
                break
            if is_user_code(frame):
                return f"{module_of(frame)}:{frame.f_lineno} in {code.co_name}"
            frame = frame.f_back
        return f"a wait or a retry of {self._code}"


def _is_imposed(event: Event) -> bool:
    """Whether this is an end that the runtime decided, not the code."""
    return isinstance(event, OrchestrationFailed) and not isinstance(
        event.details.kind, Raised | Cancelled
    )


def _agree(expected: Event, fields: Mapping[str, object]) -> bool:
    for name, value in fields.items():
        recorded = getattr(expected, name)
        if recorded != value and not _may_differ(expected, name, recorded, value):
            return False
    return True


def _may_differ(expected: Event, name: str, recorded: object, value: object) -> bool:
    """What is no decision of the code: the limit for cleanup, and the words of an error."""
    if isinstance(expected, TimerCreated):
        return name == "fire_at" and expected.purpose == "cleanup"
    if isinstance(expected, OrchestrationFailed):
        return cast("ErrorDetails", recorded).type_name == cast("ErrorDetails", value).type_name
    return False


def _show(kind: type[Event], fields: Mapping[str, object]) -> str:
    """A command for a message: its kind and name; of payloads a digest, for they may be secret."""
    shown: list[str] = []
    for name, value in fields.items():
        if name in ("input", "output"):
            digest = hashlib.blake2b(str(value).encode(), digest_size=4).hexdigest()
            shown.append(f"{name} #{digest}")
        elif name == "details":
            shown.append(cast("ErrorDetails", value).type_name)
        elif value is not None:
            shown.append(f"{name}={value!r}")
    return f"{kind.__name__}({', '.join(shown)})"


def _show_event(event: Event) -> str:
    own = (field.name for field in fields_of(event) if field.name not in ("event_id", "at"))
    return _show(type(event), {name: getattr(event, name) for name in own})
