"""What a client sees of an instance: four small classes, made for `match`; what an event met."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from perdure.model.details import ErrorDetails
from perdure.model.record import record


@record
class Parked:
    """Why a running instance does not move for now."""

    reason: str
    """`unregistered`, `nondeterminism`, `forbidden`, `undecodable`, `suspected`, `raised` or `broken`."""
    since: datetime
    details: str


class EventArrival(StrEnum):
    """What an external event met when it was raised."""

    RUNNING = "running"
    """A running instance, which takes it at a wait of its name, now or later."""
    EARLY = "early"
    """No instance: the event is kept for one that is started under the id."""
    LATE = "late"
    """An instance that had ended: the event is ignored."""


@record(kw_only=False)
class NotFound:
    """No instance has this id."""


@record
class Running:
    """Started, and not ended yet; created but not yet run is Running too."""

    parked: Parked | None = None
    custom_status: str | None = None
    """The JSON text of the status that the orchestration set last, or None."""
    custom_status_version: int = 0
    """The number of turns that set a custom status."""


@record
class Completed:
    """Ended with a result."""

    output: str
    """JSON text."""
    custom_status: str | None = None
    """The JSON text of the status that the orchestration set last, or None."""
    custom_status_version: int = 0
    """The number of turns that set a custom status."""


@record
class Failed:
    """Ended without a result."""

    details: ErrorDetails
    custom_status: str | None = None
    """The JSON text of the status that the orchestration set last, or None."""
    custom_status_version: int = 0
    """The number of turns that set a custom status."""


OrchestrationStatus: TypeAlias = NotFound | Running | Completed | Failed
