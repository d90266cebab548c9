"""The plugin: it hands what clients and runtimes do to the spans and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import TracerProvider

from perdure.client import Client
from perdure.contract.hooks import ActivityWrapper, TurnWrapper, hookimpl
from perdure.observe import ExecutionEnded, RuntimeEvent
from perdure.runtime.runtime import Runtime
from perdure.telemetry.metrics import Metrics
from perdure.telemetry.queue_gauges import QueueGauges
from perdure.telemetry.spans import Spans


class OpenTelemetry:
    """Traces and metrics by OpenTelemetry; a plugin of clients and runtimes.

    Give one object to every client and runtime of a process. A client makes a span for each start,
    and the headers of the instance carry its trace to the processes that run it. There an execution
    and each attempt of an activity are spans of the same trace, and so are its children. Within an
    activity the span is the current one, so what it asks of other services is traced too. An
    instance that was started without the plugin has a trace of its own. With `turns=True` each turn
    is a span too, within which the storage is called, so that the spans of its driver are traced.

    The providers are those of the application; None: the global ones.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        turns: bool = False,
    ) -> None:
        self._traces_turns = turns
        self._spans = Spans(tracer_provider)
        self._meter = (meter_provider or metrics.get_meter_provider()).get_meter("perdure")
        self._metrics = Metrics(self._meter)

    def watch(self, runtime: Runtime) -> None:
        """Report what a runtime holds: live executions, turns and activities that run, replays."""

        def gauge(name: str, unit: str, description: str, field: str) -> None:
            def observed(options: CallbackOptions) -> Iterable[Observation]:
                del options
                return [Observation(getattr(runtime.statistics, field))]

            self._meter.create_observable_gauge(name, [observed], unit, description)

        gauge("perdure.execution.live", "{execution}", "Executions in memory.", "live_executions")
        gauge("perdure.turn.running", "{turn}", "Turns that run.", "turns_running")
        gauge("perdure.activity.running", "{activity}", "Activities.", "activities_running")
        gauge("perdure.history.read", "{history}", "Histories replayed so far.", "histories_read")

    def watch_queues(self, client: Client) -> None:
        """Report the lengths of the queues, and how long the oldest waits in each; one process is
        enough. Needs `management`.

        The queues are counted once for each export, in the thread of the exporter.
        """
        QueueGauges(client).add_to(self._meter)

    @hookimpl
    def perdure_headers(self, instance: str, orchestration: str) -> Mapping[str, str]:
        """A span for the start, carried by the headers of the instance."""
        return self._spans.start_headers(instance, orchestration)

    @hookimpl
    def perdure_wrap_activity(self) -> ActivityWrapper:
        """A span for each attempt of an activity."""
        return self._spans.around_activity

    @hookimpl
    def perdure_wrap_turn(self) -> TurnWrapper | None:
        """A span for each turn, if they are traced."""
        return self._spans.around_turn if self._traces_turns else None

    @hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        """A span for an execution that has ended, and the metrics of every event."""
        if isinstance(event, ExecutionEnded):
            self._spans.end_execution(event)
        self._metrics.observe(event)
