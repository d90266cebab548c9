"""What an activity can know about itself: a context variable, copied into threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from perdure.contract.transactions import OpenTransaction
from perdure.errors import PerdureError
from perdure.model.durations import to_duration
from perdure.model.record import record
from perdure.runtime.worker_tag import WorkerTag

if TYPE_CHECKING:
    from perdure.client import Client

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Cancellation:
    """Tells an activity, in any thread, that it should end."""

    __slots__ = ("_event", "_lock", "requested")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock  # shared by many: it is held for moments only
        self.requested = False
        # Made when a thread first waits: most activities never ask.
        self._event: threading.Event | None = None

    def request(self) -> None:
        """Tell it."""
        with self._lock:
            self.requested = True
            if self._event is not None:
                self._event.set()

    def wait(self, timeout: float | None) -> bool:
        """Block until it is told, or for `timeout` seconds; returns whether it was told."""
        with self._lock:
            if self.requested:
                return True
            event = self._event = self._event or threading.Event()
        return event.wait(timeout)


CURRENT: ContextVar[ActivityContext[object]] = ContextVar("perdure_activity")


@record
class ActivityContext(Generic[T_co]):
    """One delivery of one activity; its resources are a `T_co`."""

    instance: str
    incarnation: str
    """Which of the instances that ever had this id; a deletion frees the id."""
    execution: int
    activity_id: str
    """Unique within the instance."""
    name: str
    attempt: int
    """Which attempt of its retry policy this is, from 1."""
    delivery: int
    """How often this attempt was given to a worker; above 1 after a crash or a lost lease."""
    idempotency_key: str
    """The same over retries, crashes and restarts; different for each scheduled activity, also if
    the instance's id is used again after a deletion."""
    client: Client
    """A client of the runtime's provider."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """What was given as `headers` when the instance, or an ancestor of it, was started."""
    resources: T_co
    """What the runtime was given as `resources`."""
    cancellation: Cancellation = field(repr=False)
    """Set when it should end."""
    transaction: OpenTransaction | None = field(repr=False, default=None)
    """The transaction of a transactional activity; `connection` is its connection."""
    worker: WorkerTag = field(repr=False, default_factory=WorkerTag)
    """The tag of the runtime that runs it."""

    @property
    def connection(self) -> Any:
        """The connection of a transactional activity, in a transaction that its result belongs to.

        It is the driver's: a `psycopg.Connection` or `sqlite3.Connection` in a plain function, a
        `psycopg.AsyncConnection` or `sqlite3.Connection` in an async one. Don't commit, roll back or
        close it: the runtime does, after the function has returned. Raises `PerdureError` in an
        activity that is not transactional.
        """
        if self.transaction is None:
            raise PerdureError(
                f"activity {self.name!r} has no connection; register it with"
                " @registry.activity(transactional=True)"
            )
        return self.transaction.connection

    @property
    def worker_tag(self) -> str:
        """The tag that only this runtime serves: what is scheduled with `tag=` this runs here.

        An activity returns it, and its orchestration schedules with it what needs the files or the
        memory of this process. It goes with the runtime: with `start_timeout=` the orchestration learns
        that it is gone.
        """
        return self.worker.value

    @property
    def cancel_requested(self) -> bool:
        """Whether the activity should end; safe to read from any thread.

        True if the result is not wanted any more, the time is over, or the runtime's block ends.
        An async activity then gets `CancelledError` in the end; a plain function is only told.
        Also True if its orchestration was cancelled and waits for the outcome of this activity:
        then the activity is asked to end, and is not cancelled.
        """
        return self.cancellation.requested

    def wait_cancel_requested(self, timeout: timedelta | float | None = None) -> bool:
        """For plain functions: block until the activity should end, or for `timeout`; returns whether it should.

        `timeout` is a `timedelta` or seconds; None waits for ever.
        """
        if timeout is None:
            return self.cancellation.wait(None)
        return self.cancellation.wait(to_duration(timeout, "timeout").total_seconds())


@overload
def activity_context() -> ActivityContext[object]: ...
@overload
def activity_context(resources: type[T], /) -> ActivityContext[T]: ...
def activity_context(resources: type[object] = object, /) -> ActivityContext[object]:
    """The context of the activity that is running here.

    `activity_context(Pool).resources` is known to be a `Pool`. Raises `PerdureError` outside of an
    activity, and where the runtime was given resources of another class.
    """
    context = CURRENT.get(None)
    if context is None:
        raise PerdureError(
            "activity_context() was called outside an activity; call it in the activity's own"
            " function, or in what it calls"
        )
    if not isinstance(context.resources, resources):
        raise PerdureError(
            f"the resources of the runtime are of type {type(context.resources).__name__}, and"
            f" activity {context.name!r} asks for {resources.__name__}; pass it to"
            " Runtime(resources=…)"
        )
    return context
