"""Instances that cannot go on for now: told once for each reason, and hidden longer each time."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta

from perdure.clock import Clock
from perdure.diagnostics.logs import tell
from perdure.model.details import encodable
from perdure.observe import InstanceParked
from perdure.records.instances import ParkedMark
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.runtime")
_FIRST_DELAY = timedelta(milliseconds=500)
_LONGEST_DELAY = timedelta(seconds=30)
_MOST_KNOWN = 10_000
_LONGEST_DETAILS = 8_192


@dataclass(slots=True)
class _Parking:
    delay: timedelta | None = None
    reasons: set[str] = field(default_factory=set[str])


class Parkings:
    """What one runtime has parked since an instance last moved; the oldest is forgotten first."""

    def __init__(self, clock: Clock, observers: Observers) -> None:
        self._clock = clock
        self._observers = observers
        self._known: OrderedDict[str, _Parking] = OrderedDict()

    def mark(self, instance: str, reason: str, details: str, *, told: bool = False) -> ParkedMark:
        """The mark to leave on an instance. Tells of it, unless that was done before.

        `told`: whether the instance has a mark for this reason already.
        """
        # It may quote user code, whose names can have what no storage takes.
        details = encodable(details)[:_LONGEST_DETAILS]
        reasons = self._parking(instance).reasons
        if not told and reason not in reasons:
            self._tell(instance, reason, details)
        reasons.add(reason)
        return ParkedMark(reason=reason, details=details)

    def next_delay(self, instance: str) -> timedelta:
        """How long to hide an instance that cannot go on: longer each time, up to 30 s."""
        parking = self._parking(instance)
        last = parking.delay
        parking.delay = _FIRST_DELAY if last is None else min(last * 2, _LONGEST_DELAY)
        return parking.delay

    def moved(self, instance: str) -> None:
        """A turn was committed: the instance is parked no longer."""
        self._known.pop(instance, None)

    def _parking(self, instance: str) -> _Parking:
        parking = self._known.setdefault(instance, _Parking())
        self._known.move_to_end(instance)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return parking

    def _tell(self, instance: str, reason: str, details: str) -> None:
        fields = {"perdure_instance": instance, "perdure_reason": reason}
        message = "instance %r is parked (%s): %s"
        tell(_LOGGER, logging.WARNING, message, instance, reason, details, fields=fields)
        if self._observers:
            self._observers.tell(
                InstanceParked(
                    at=self._clock.now(), instance=instance, reason=reason, details=details
                )
            )
