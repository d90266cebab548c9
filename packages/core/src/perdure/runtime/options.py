"""The settings of a runtime, checked once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from perdure.errors import InvalidInput
from perdure.model.comparison import DEFAULT_COMPARE, Compare, check_compare
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
from perdure.model.record import record
from perdure.model.settings import (
    COUNT,
    POSITIVE,
    check_fields,
    require,
    to_exceptions,
    to_integer,
    to_items,
)
from perdure.records.limits import LONGEST_LEASE

_LEASE = partial(to_duration, positive=True, most=LONGEST_LEASE)
_BYTES = partial(to_integer, least=1, most=1_000_000_000_000)


@record(frozen=True)
class Retention:
    """How long ended instances are kept before a runtime deletes them, each with its children.

    The time counts from the end of the instance. Only instances without a parent are looked for.
    """

    completed: timedelta | None = None
    """None: completed instances are kept for ever."""
    failed: timedelta | None = None
    """None: failed instances are kept for ever."""
    every: timedelta = timedelta(minutes=1)
    """How often a runtime looks, on average; the moments are random, so that runtimes take turns."""
    at_once: int = 20
    """The most instances that one look deletes. Where there are more, the next look follows soon."""

    def __post_init__(self) -> None:
        check_fields(self, every=POSITIVE, at_once=COUNT)
        if self.completed is None and self.failed is None:
            raise InvalidInput(
                "the retention deletes nothing; pass completed=, failed= or both, such as"
                " Retention(completed=timedelta(days=30))"
            )


@record(frozen=True)
class RuntimeOptions:
    """How a runtime works; every setting has a default that suits one process on two cores."""

    max_concurrent_turns: int = 256
    """Instances whose turns are under way at once."""
    max_concurrent_activities: int = 256
    """Async activities under way at once. A sixteenth of them is left to instances of which no
    activity runs, so that they need not wait until a large fan-out has ended."""
    activity_threads: int = 16
    """Activities that are plain functions under way at once, each in a thread of its own."""
    cache_size: int = 1000
    """Live executions kept in memory between their turns; the least recently used go first."""
    max_bytes_in_flight: int = 300_000_000
    """How much memory the payloads of work under way may take, counted as JSON: inputs and results
    of activities, messages of turns, and what live executions were called with. Where there is no
    room, work waits in the storage, and cached executions go. A payload that is too large by itself
    is handled alone."""
    turn_lease: timedelta = timedelta(seconds=30)
    activity_lease: timedelta = timedelta(seconds=30)
    """How long at most after a crash an activity is delivered again; renewed while it runs."""
    hold: timedelta = timedelta(milliseconds=100)
    """How long a turn's lease is kept while an activity in this process is about to end."""
    max_attempts: int = 5
    """How often a turn or an activity may be leased without an outcome before the runtime suspects
    it of ending its process."""
    unregistered_timeout: timedelta | None = None
    """How long work waits for a runtime that has its function before it fails; None: for ever."""
    poll_interval: timedelta = timedelta(seconds=1)
    """How often an idle runtime looks for work.

    In a storage that cannot tell when work comes, it looks sooner after work. Work from its own
    process, and work that the storage tells of, wakes it at once.
    """
    unregistered_interval: timedelta = timedelta(seconds=1)
    """How often this runtime looks for work that no runtime has registered; more rarely while it
    finds only what it found before."""
    cleanup_timeout: timedelta = timedelta(minutes=5)
    """How long a cancelled orchestration may clean up."""
    cancel_grace: timedelta = timedelta(seconds=10)
    """How long a cancelled activity may go on after it was told, before it gets CancelledError;
    `@app.activity(cancel_grace=…)` sets it for one activity."""
    shutdown_grace: timedelta = timedelta(seconds=10)
    """How long activities may go on when the runtime's block ends."""
    tags: frozenset[str | None] = frozenset({None})
    """The activity tags that this runtime serves; None stands for untagged ones."""
    compare: Compare = DEFAULT_COMPARE
    """What happens if code passes other values than the history has: `warn` logs it, `strict`
    parks the instance, `ignore` is silent. The recorded values count. The setting of an
    orchestration or an activity counts above this one."""
    park_on: tuple[type[BaseException], ...] = ()
    """Errors that do not end an instance: where nothing catches one, the instance is parked with the
    reason `raised`, tried again later and later, and goes on when repaired code is deployed. Those
    of the orchestration's own `park_on` count too."""
    retention: Retention | None = None
    """How long ended instances are kept; None: for ever. Needs the capabilities `deletion` and
    `listing`."""
    trace_paths: bool = False
    """Whether the traces of failures name files in full."""

    def __post_init__(self) -> None:
        if self.retention is not None:
            require(self.retention, Retention, "retention", "pass Retention(completed=…)")
        object.__setattr__(self, "park_on", to_exceptions(self.park_on, "park_on"))
        check_fields(
            self,
            max_concurrent_turns=COUNT,
            max_concurrent_activities=COUNT,
            activity_threads=COUNT,
            max_bytes_in_flight=_BYTES,
            max_attempts=COUNT,
            turn_lease=_LEASE,
            activity_lease=_LEASE,
            poll_interval=POSITIVE,
            unregistered_interval=POSITIVE,
        )
        check_compare(self.compare)
        tags = to_items(self.tags, "tags", example='{None, "gpu"}')
        for tag in tags:
            if tag is not None:
                check_identifier(tag, "tag")
        object.__setattr__(self, "tags", frozenset(tags))
        if not tags:
            raise InvalidInput(
                "tags are empty; pass the tags to serve, or {None} for untagged work"
            )
