"""Recovery: running an ended or stuck instance again, and ending one without a turn."""

from __future__ import annotations

from perdure.model.record import record
from perdure.records.instances import Message


@record
class InstanceReopening:
    """Begins another execution of an instance, in whatever state the instance is."""

    id: str
    """Unique; becomes the instance's `last_commit`. A repeat is recognised by it until the next
    commit and has no effect."""
    instance: str
    """The id of the instance."""
    incarnation: str
    """The incarnation to reopen."""
    execution: int
    """The number that the current execution is expected to have."""
    start: Message
    """Kind START, addressed to this incarnation and to `execution` + 1."""
    version: str | None = None
    """If set, pins the instance to this version."""
    unpin: bool = False
    """The new execution chooses the newest registered version."""
    engine: int | None = None
    """If set, the oldest engine that can run the instance from now on."""


@record
class InstanceTermination:
    """Ends a running instance as Failed, without a turn, leased or not."""

    id: str
    """Unique; becomes the instance's `last_commit`. A repeat is recognised by it."""
    instance: str
    """The id of the instance."""
    incarnation: str
    """The incarnation to terminate."""
    events: tuple[bytes, ...]
    """Appended to the history of the current execution."""
    output: bytes
    """Becomes the output of the instance and of its current execution."""
    send: tuple[Message, ...] = ()
    """Messages for other instances, such as the result for the parent."""
