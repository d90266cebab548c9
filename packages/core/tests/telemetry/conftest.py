"""An SDK that exports to memory, and the spans in it by name."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from perdure.telemetry import OpenTelemetry


class Exported:
    """The telemetry of one process."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.plugin = self.plugin_with()

    def plugin_with(self, **settings):
        return OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **settings)

    def spans(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name):
        [found] = self.spans(name)
        return found

    def names(self):
        return [span.name for span in self.exporter.get_finished_spans()]

    def points(self, name):
        """The points of a metric, each with its attributes."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def exported():
    return Exported()
