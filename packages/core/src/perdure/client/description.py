"""The description of an instance: everything that one wants to see of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from perdure.client.info import InstanceInfo
from perdure.model.details import ErrorDetails
from perdure.model.record import record


@record
class OpenActivity:
    """An activity that was scheduled and has not ended."""

    name: str
    scheduled: int
    """The number of its schedule event."""
    since: datetime
    """When it was scheduled."""
    attempt: int
    """The number of the attempt under its retry policy, from 1."""
    delivery: int
    """How often a worker has taken it so far, in this attempt."""
    leased_until: datetime | None
    """Until when the lease of the worker that has it stands, which is renewed; None: it waits for
    a worker."""
    tag: str | None
    last_failure: ErrorDetails | None
    """Why the attempt before failed, or None."""


@record
class OpenTimer:
    """A timer that has not fired."""

    due: datetime
    purpose: str
    """`sleep`; `start` of an instance that begins later; `cleanup`, the limit of a cancellation;
    `start_timeout`, the limit of an activity's beginning."""


@record
class OpenWait:
    """A wait for an external event that has not come."""

    name: str
    """The name of the event."""
    since: datetime


@record
class KeptEvent:
    """An external event that came, and that nothing has waited for yet."""

    name: str
    event_id: str
    at: datetime


@record
class InstanceDescription:
    """An instance with what it has done, what it waits for, and what it is doing now.

    The parts are read one after the other, so a busy instance may move between them.
    """

    info: InstanceInfo
    doing: str
    """What it is doing now, in words."""
    values: Mapping[str, str] = field(hash=False)
    """JSON texts by their keys; empty where the provider has no values."""
    activities: tuple[OpenActivity, ...]
    timers: tuple[OpenTimer, ...]
    waits: tuple[OpenWait, ...]
    kept_events: tuple[KeptEvent, ...]
    children: tuple[InstanceInfo, ...]
    """Its children, ended ones too, newest first; up to 1,000."""
    damage: str | None
    """What of the history cannot be read, in words; what is open is then told up to there. None:
    nothing is damaged."""
    event_count: int
    """The events of the newest execution."""
    history_bytes: int
    """The size of the newest execution's history."""
    messages: int
    """How many messages wait in its mailbox, up to 1,000; timers that are not due are among them."""
    leased_until: datetime | None
    """Until when the lease of the runtime that runs its turns stands; None: no runtime has it."""
    attempt: int
    """How often a runtime has taken it since its last turn."""
