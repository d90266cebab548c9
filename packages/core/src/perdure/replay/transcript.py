"""The growing history of a live execution, and the comparison of the code with it in replay.

Live, a command becomes the next event. In replay every command is compared with the history at the
moment of the call, so that the first difference is reported with the user's line. The first request
that differs closes the transcript, and later commands have no effect. If only values differ, the
recorded ones are used: the caller continues with the event that `ask` returns, not with its
arguments.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from perdure.diagnostics.frames import is_user_code, module_of
from perdure.history import INCOMING, Event, OrchestrationFailed, OrchestrationStarted
from perdure.model.comparison import Compare
from perdure.model.details import ErrorDetails, Raised
from perdure.model.hidden_payload import is_hidden
from perdure.model.identifiers import child_instance
from perdure.replay.comparing import ValueDifference, differences, own_fields
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.recording import Recording
from perdure.replay.signals import ForbiddenUse, HistoryMismatch, UndecodableData

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

E = TypeVar("E", bound=Event)
_INCOMING = frozenset(INCOMING)
_MOST_DIFFERENCES = 100
"""How many different values are reported for one replay."""


class Transcript:
    """The events of one execution: recorded live, compared in replay."""

    __slots__ = (
        "_code",
        "_compare",
        "_copying",
        "_differing",
        "_loop",
        "_recording",
        "_started",
        "closed",
        "delivered",
        "events",
        "forbidden",
        "last_event",
        "mismatch",
        "terminal",
    )

    def __init__(
        self,
        started: OrchestrationStarted,
        code: str,
        loop: OrchestrationLoop,
        compare: Callable[[Event], Compare],
    ) -> None:
        self._started = started
        self._code = code
        """Name and version of the orchestration, for messages."""
        self._loop = loop
        self._compare = compare
        """How values that differ from an event are handled."""
        self._recording: Recording | None = None
        """What a replay is held to; None outside of one."""
        self._copying: list[Event] | None = None
        """The events of a replay that become this execution's own; None for any other replay."""
        self._differing: dict[tuple[str, ...], ValueDifference] = {}
        self.last_event = 0
        self.delivered = 0
        """The number of the last delivered event; commands of the current step have higher numbers."""
        self.events: list[Event] = []
        """The events since the last turn was taken."""
        self.mismatch: HistoryMismatch | None = None
        self.forbidden: ForbiddenUse | None = None
        """The first forbidden use."""
        self.terminal: Event | None = None
        self.closed = False
        """Whether commands have no effect any more."""

    @property
    def replaying(self) -> bool:
        """Whether the next command is held to a history."""
        recording = self._recording
        return recording is not None and (self._copying is None or recording.due is not None)

    @property
    def effective(self) -> bool:
        """Whether a command has effects to carry out: neither in replay nor after the end."""
        return not (self.closed or self._recording is not None)

    @property
    def drafts(self) -> bool:
        """Whether scheduled work goes to the draft: where commands have effects, and in a copy.

        The work that is open at the end of the copied history has to be scheduled again.
        """
        return not self.closed and (self._recording is None or self._copying is not None)

    @property
    def differences(self) -> Sequence[ValueDifference]:
        """The values of the replay that differ from the recorded ones, each path once."""
        return tuple(self._differing.values())

    def ask(self, kind: type[E], **fields: object) -> E:
        """Record a command, or find the recorded one in replay; returns the event that counts.

        An `instance` of None stands for the default id of a child. After the end, the returned event
        is not recorded.
        """
        if self._copying is not None:
            self._go_on_after_copy()
        number = self.last_event + 1
        if fields.get("instance", "") is None:
            fields["instance"] = self._child_id(number)
        if self._recording is not None and not self.closed:
            recorded = self._recorded(self._recording, kind, fields, number)
            if recorded is not None:
                self.last_event = number
                return recorded  # pyright: ignore[reportReturnType] # of the kind that was asked for
        event = kind(event_id=number, at=self._loop.now, **fields)  # pyright: ignore[reportCallIssue, reportArgumentType] # the caller knows the fields
        if not self.closed:
            self.events.append(event)
            self.last_event = number
        return event

    def has_refused(self, event: int) -> bool:
        """Whether the replayed history has a refusal of this external event."""
        recording = self._recording
        if recording is None or self.closed or not recording.take_refusal(event):
            return False
        self.last_event += 1
        return True

    def has_patch(self, name: str) -> bool:
        """Whether the replayed history has this patch in the current step."""
        recording = self._recording
        if recording is None or self.closed or not recording.take_patch(name):
            return False
        self.last_event += 1
        return True

    def end(self, kind: type[Event], **fields: object) -> Event | None:
        """Record a terminal event; returns it if its effects must be carried out."""
        self._go_on_after_copy()
        live = self.effective
        event = self.ask(kind, **fields)
        self.closed = True
        self._loop.halt()
        if self.mismatch is not None:
            return None
        self.terminal = event
        return event if live else None

    def refuse(self, use: ForbiddenUse) -> None:
        """Record a forbidden use: the turn is void, and no further callback runs."""
        if not self.closed:
            self.forbidden = use
            use.last_event = self.last_event
            self.closed = True
            self._loop.halt()

    # Replay

    def begin_replay(self, history: Iterable[Event]) -> None:
        """Compare commands with this history until `end_replay`."""
        self._recording = Recording(history, self._child_id)

    def end_replay(self) -> None:
        """Record commands from now on."""
        self._recording = None
        self._copying = None

    def begin_copy(self, history: Iterable[Event], *, adopts_ids: bool) -> None:
        """Compare commands with this history, and make it the execution's own, up to its end.

        After its last event commands are recorded. With `adopts_ids`, the ids of other instances are
        those that the code asks for now: the history is another instance's.
        """
        recording = Recording(history, self._child_id, keeps=True, adopts_ids=adopts_ids)
        self._recording, self._copying = recording, recording.kept

    def _go_on_after_copy(self) -> None:
        """Record commands from now on, if the copied history is at its end.

        Not before the next command: the last copied one has no effect of its own.
        """
        copied, recording = self._copying, self._recording
        if copied is not None and recording is not None and recording.due is None:
            self.last_event = len(copied)
            self.events.extend(copied)
            self.end_replay()
            self._loop.is_silent = False

    def read_on(self) -> bool:
        """Read the history up to where `next_incoming` needs it; True if there is more to read.

        Raises what reading it raises.
        """
        recording = self._recording
        return recording is not None and self.mismatch is None and recording.read_on()

    def next_incoming(self) -> Event | None:
        """The next event to deliver; None at the end of the history.

        Raises `HistoryMismatch` if the history has a command that the code did not repeat, and
        `UndecodableData` if it has a gap before this event.
        """
        if self.mismatch is not None:
            raise self.mismatch
        if self._copying is not None:
            self._go_on_after_copy()
        recording = self._recording
        if recording is None:
            return None
        event = recording.due
        if event is None:
            # Not a count of what the code asked for: it may do without a deprecated patch.
            self.last_event = recording.number_due - 1
            return None
        if event.event_id != recording.number_due:
            raise UndecodableData(
                f"the history of instance {self._started.instance!r} has event"
                f" {event.event_id} where {recording.number_due} is due; restore it from a"
                " copy"
            )
        if self.terminal is not None or type(event) not in _INCOMING:
            if self.terminal is not None or not _is_imposed(event):
                raise self._difference(event, "nothing", "")
            self.terminal = event
            self.closed = True
            self.last_event = event.event_id
        recording.take_due()
        if self._copying is not None:
            self._go_on_after_copy()
        return event

    def _recorded(
        self, recording: Recording, kind: type[Event], fields: Mapping[str, object], number: int
    ) -> Event | None:
        """The recorded command that counts; None if the history disagrees with the request."""
        event = recording.take(kind, fields, number)
        if event is None:
            self._disagree(recording.at_odds(kind), kind, fields)
        elif not recording.agreed:
            differing = differences(event, fields)
            if differing and not self._may_differ(event, differing):
                self._disagree(event, kind, fields, differing[0])
                return None
        return event

    def _may_differ(self, event: Event, differing: Sequence[ValueDifference]) -> bool:
        """Record the values that differ; returns False if the instance must be parked for them."""
        compare = self._compare(event)
        if compare == "warn":
            for one in differing:
                if len(self._differing) < _MOST_DIFFERENCES:
                    self._differing.setdefault((one.kind, one.name, one.field, one.path), one)
        return compare != "strict"

    def _disagree(
        self,
        expected: Event | None,
        kind: type[Event],
        fields: Mapping[str, object],
        differing: ValueDifference | None = None,
    ) -> None:
        found, where = _show(kind, fields), self._where()
        self.mismatch = self._difference(expected, found, where, differing)
        self.closed = True
        self._loop.halt()

    def _difference(
        self,
        expected: Event | None,
        found: str,
        where: str,
        differing: ValueDifference | None = None,
    ) -> HistoryMismatch:
        number = expected.event_id if expected is not None else self.last_event + 1
        has = "nothing" if expected is None else _show_event(expected)
        at = f" at {where}" if where else ""
        began = self._started.python
        python = f"; the history began on Python {began}, this is {PYTHON}"
        if differing is None:
            differs, advice = "", _ADVICE
        else:
            differs = f"{differing.field} at {differing.path}"
            advice = _ADVICE_ON_VALUES
        message = (
            f"event {number} of instance {self._started.instance!r}: the history has {has}, and"
            f" the code of {self._code} asked for {found}{at}{differs and f', which differs in {differs}'}"
            f"{python if began != PYTHON else ''}; {advice}"
        )
        return HistoryMismatch(
            message, event_id=number, expected=has, found=found, where=where, differs=differs
        )

    def _child_id(self, number: int) -> str:
        started = self._started
        return child_instance(started.instance, started.origin(number), number)

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


_PAYLOADS = frozenset({"input", "output", "retry", "result", "data", "value", "previous"})
_ADVICE = (
    "undo the edit, or register the edited code under a new version; where nothing was edited,"
    " look at that line for what differs from run to run, such as a clock or the order of a set"
)
_ADVICE_ON_VALUES = (
    'make the value the same in every run, or let the recorded one count with compare="warn"'
)


def _is_imposed(event: Event) -> bool:
    """Whether the runtime, not the code, may have decided this end."""
    return isinstance(event, OrchestrationFailed) and not isinstance(event.details.kind, Raised)


def _show(kind: type[Event], fields: Mapping[str, object]) -> str:
    """A command in words: kind and name, and only a digest of payloads, which may be secret."""
    shown: list[str] = []
    for name, value in fields.items():
        if name in _PAYLOADS and value is not None:
            if is_hidden(str(value)):
                shown.append(f"{name} hidden")
                continue
            digest = hashlib.blake2b(str(value).encode(), digest_size=4).hexdigest()
            shown.append(f"{name} #{digest}")
        elif name == "details":
            shown.append(cast("ErrorDetails", value).type_name)
        elif value is not None:
            shown.append(f"{name}={value!r}")
    return f"{kind.__name__}({', '.join(shown)})"


def _show_event(event: Event) -> str:
    kind = type(event)
    return _show(kind, {name: getattr(event, name) for name in own_fields(kind)})
