"""The metrics: counters and histograms of what a runtime does.

Names and units follow the semantic conventions of OpenTelemetry: dots between words, seconds, and
no unit within a name.
"""

from __future__ import annotations

from datetime import timedelta

from opentelemetry.metrics import Meter

from perdure.observe import (
    ActivityEnded,
    ActivityStarted,
    ExecutionEnded,
    InstanceParked,
    InstancesDeleted,
    RuntimeEvent,
    StorageUsed,
    TurnCommitted,
    TurnLost,
)


class Metrics:
    """The instruments of one meter, and what each event of a runtime adds to them."""

    def __init__(self, meter: Meter) -> None:
        self._turns = meter.create_histogram(
            "perdure.turn.duration", "s", "Time that the engine and orchestrations took for a turn."
        )
        self._commits = meter.create_histogram(
            "perdure.commit.duration", "s", "Time that the storage took for the commit of a turn."
        )
        self._lost = meter.create_counter(
            "perdure.turn.lost", "{turn}", "Turns that were refused, or whose answer did not come."
        )
        self._executions = meter.create_histogram(
            "perdure.execution.duration",
            "s",
            "Time from the first turn of an execution to its end.",
        )
        self._parked = meter.create_counter(
            "perdure.instance.parked", "{instance}", "Instances that cannot go on, by reason."
        )
        self._deleted = meter.create_counter(
            "perdure.instance.deleted", "{instance}", "Instances that a retention deleted."
        )
        self._activities = meter.create_histogram(
            "perdure.activity.duration", "s", "Time that an attempt of an activity ran."
        )
        self._waited = meter.create_histogram(
            "perdure.activity.schedule_to_start.duration",
            "s",
            "Time from the commit that scheduled an activity to its first attempt.",
        )
        self._retries = meter.create_counter(
            "perdure.activity.retries", "{attempt}", "Attempts of activities after the first one."
        )
        self._redeliveries = meter.create_counter(
            "perdure.activity.redeliveries",
            "{delivery}",
            "Deliveries of an attempt after the first one: after a crash or a lost lease.",
        )
        self._storage = meter.create_counter(
            "perdure.storage.usage", "1", "What the provider asked of its storage, by kind."
        )

    def observe(self, event: RuntimeEvent) -> None:
        """Add what happened."""
        match event:
            case TurnCommitted():
                of = {"perdure.orchestration": event.orchestration}
                self._turns.record(event.turn_time.total_seconds(), of)
                self._commits.record(event.commit_time.total_seconds(), of)
            case TurnLost():
                self._lost.add(1)
            case ExecutionEnded():
                self._observe_end(event)
            case InstanceParked():
                self._parked.add(1, {"perdure.reason": event.reason})
            case InstancesDeleted():
                self._deleted.add(len(event.instances))
            case ActivityStarted():
                self._observe_start(event)
            case ActivityEnded():
                of = {"perdure.activity": event.name, "perdure.outcome": event.outcome}
                self._activities.record(event.duration.total_seconds(), of)
            case StorageUsed():
                self._observe_usage(event)
            case _:
                pass

    def _observe_end(self, event: ExecutionEnded) -> None:
        began = event.at if event.started_at is None else event.started_at
        took = timedelta(microseconds=max(0, event.at - began))
        of = {
            "perdure.orchestration": event.orchestration,
            "perdure.status": str(event.status),
        }
        self._executions.record(took.total_seconds(), of)

    def _observe_start(self, event: ActivityStarted) -> None:
        of = {"perdure.activity": event.name}
        if event.delivery > 1:
            self._redeliveries.add(1, of)
        elif event.attempt > 1:
            self._retries.add(1, of)
        else:
            self._waited.record(event.waited.total_seconds(), of)

    def _observe_usage(self, event: StorageUsed) -> None:
        for kind, amount in event.usage.items():
            self._storage.add(amount, {"perdure.storage.kind": kind})
