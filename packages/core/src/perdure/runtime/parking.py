"""Parked instances: the reasons, and what this runtime has reported of each.

An instance is parked when it cannot go on for now. The runtime leaves a mark with the reason in
the store, reports it once for each reason, and hides an instance longer each time.

A function that is not registered and a tag that is not served have one reason. Where one runtime
lacks the function and another the tag, two reasons would replace each other at every look, and the
mark's `since` would start again each time (LEASE-15). That work waits does not mean that no
runtime has it: its runtimes may be busy, or just starting. So the time until it fails counts from
the mark, and a commit takes the mark away (COMMIT-24).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from perdure.clock import Clock, Instant
from perdure.diagnostics.logs import log_line
from perdure.model.details import ApplicationFailure, Cancelled, encodable
from perdure.model.parked_reasons import UNREGISTERED
from perdure.model.wire import decode_cancel
from perdure.observe import InstanceParked
from perdure.records.instances import InstanceState, Message, MessageKind, ParkedMark
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.runtime")
_FIRST_DELAY = timedelta(milliseconds=500)
_LONGEST_DELAY = timedelta(seconds=30)
_MOST_KNOWN = 10_000
_LONGEST_DETAILS = 4_000
_UNREADABLE = "the request to cancel cannot be read"


@dataclass(slots=True, eq=False, repr=False)
class _Parked:
    delay: timedelta | None = None
    follows_at_once: bool = False
    reasons: set[str] = field(default_factory=set[str])


class ParkedInstances:
    """What one runtime has parked since an instance last moved; it forgets the oldest first."""

    def __init__(self, clock: Clock, observers: Observers) -> None:
        self._clock = clock
        self._observers = observers
        self._known: OrderedDict[str, _Parked] = OrderedDict()

    def mark(
        self, instance: str, reason: str, details: str, *, reported: bool = False
    ) -> ParkedMark:
        """The mark to leave on an instance. Tells of it, unless that was done before.

        `reported`: whether the instance has a mark for this reason already.
        """
        # It may quote user code, whose names can have what a storage does not take.
        details = encodable(details).replace("\0", "\\0")[:_LONGEST_DETAILS]
        reasons = self._parked(instance).reasons
        if not reported and reason not in reasons:
            self._report(instance, reason, details)
        reasons.add(reason)
        return ParkedMark(reason=reason, details=details)

    def next_delay(self, instance: str, *, message_came: bool = False) -> timedelta:
        """How long to hide an instance that cannot go on: longer each time, up to 30 s.

        `message_came`: whether a message came during the try. It may be a cancellation, which the
        delay would hide, so another try follows at once; every second one at most.
        """
        parked = self._parked(instance)
        parked.follows_at_once = message_came and not parked.follows_at_once
        if parked.follows_at_once:
            return timedelta(0)
        last = parked.delay
        parked.delay = _FIRST_DELAY if last is None else min(last * 2, _LONGEST_DELAY)
        return parked.delay

    def moved(self, instance: str) -> None:
        """A turn was committed: the instance is parked no longer."""
        self._known.pop(instance, None)

    def _parked(self, instance: str) -> _Parked:
        parked = self._known.setdefault(instance, _Parked())
        self._known.move_to_end(instance)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return parked

    def _report(self, instance: str, reason: str, details: str) -> None:
        fields = {"perdure_instance": instance, "perdure_reason": reason}
        message = "instance %r is parked (%s): %s"
        log_line(_LOGGER, logging.WARNING, message, instance, reason, details, fields=fields)
        if self._observers.any:
            self._observers.notify(
                InstanceParked(
                    at=self._clock.now(), instance=instance, reason=reason, details=details
                )
            )


def parked_and_cancelled(
    state: InstanceState, reason: str, messages: Iterable[Message]
) -> ApplicationFailure | None:
    """How an instance ends that is parked for this reason already and is to be cancelled.

    None otherwise. The first lease for a reason parks it, so that a runtime with fitting code gets
    its turn, and the code its cleanup.
    """
    if state.parked is None or state.parked.reason != reason:
        return None
    for message in messages:
        if message.kind is MessageKind.CANCEL:
            return ApplicationFailure(Cancelled(reason=_cancel_reason(message)))
    return None


def _cancel_reason(message: Message) -> str:
    try:
        return decode_cancel(message.data).reason
    except ValueError:
        return _UNREADABLE


def unregistered_since(state: InstanceState) -> Instant | None:
    """Since when the instance is marked as waiting for a function that no runtime has."""
    mark = state.parked
    return mark.since if mark is not None and mark.reason == UNREGISTERED else None


def unregistered_tag(activity: str, tag: str | None, served: frozenset[str | None]) -> str:
    """The details of the mark for an activity whose tag this runtime does not serve."""
    what = "is untagged" if tag is None else f"has the tag {tag!r}"
    tags = ", ".join(sorted(repr(each) for each in served if each is not None))
    here = " and ".join(
        (["untagged activities"] if None in served else []) + ([f"the tags {tags}"] if tags else [])
    )
    return (
        f"activity {activity!r} {what}, and this runtime serves only {here};"
        " start a runtime that serves it, or correct the tag"
    )


def suspected(attempts: int) -> str:
    """The details of the mark for work that could not run isolated yet."""
    return (
        f"it was leased {attempts} times without an outcome, as happens to work that ends its"
        " process; it runs once more when nothing else runs in a process, and fails if that"
        " lease has no outcome either"
    )


def broken(error: Exception) -> str:
    """The details of the mark. The text of the error is the log's: it may be anything."""
    return f"the runtime failed on it with {type(error).__name__}; the log has the trace"
