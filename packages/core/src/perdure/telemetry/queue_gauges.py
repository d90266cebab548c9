"""The gauges of the queues: how much waits in each, and for how long the oldest does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from perdure.client import BlockingClient, Client, QueueDepths


class QueueGauges:
    """Observes the queues through one client.

    An export asks for each gauge in turn. A count of the queues may be dear, so the gauge that is
    asked first leaves its count for the other one.
    """

    def __init__(self, client: Client) -> None:
        self._client = BlockingClient(client)
        self._left: dict[str, QueueDepths] = {}
        """By gauge, the count that the other one has left for it."""

    def add_to(self, meter: Meter) -> None:
        """Make the gauges."""
        meter.create_observable_gauge(
            "perdure.queue.depth", [self._lengths], "{message}", "What waits, by queue."
        )
        meter.create_observable_gauge(
            "perdure.queue.age", [self._ages], "s", "How long the oldest waits, by queue."
        )

    def _lengths(self, options: CallbackOptions) -> Iterable[Observation]:
        del options
        depths = self._count("depth", other="age")
        return _observations(
            orchestrator=depths.orchestrator_queue,
            worker=depths.worker_queue,
            timer=depths.timer_queue,
        )

    def _ages(self, options: CallbackOptions) -> Sequence[Observation]:
        del options
        depths = self._count("age", other="depth")

        def age(since: datetime | None) -> float:
            # A clock that was ahead can have written an instant that is still to come.
            waited = timedelta(0) if since is None else depths.counted_at - since
            return max(0.0, waited.total_seconds())

        return _observations(
            orchestrator=age(depths.oldest_message), worker=age(depths.oldest_activity)
        )

    def _count(self, gauge: str, *, other: str) -> QueueDepths:
        depths = self._left.pop(gauge, None)
        if depths is None:
            depths = self._left[other] = self._client.get_queue_depths()
        return depths


def _observations(**queues: float) -> Sequence[Observation]:
    return [Observation(value, {"perdure.queue": queue}) for queue, value in queues.items()]
