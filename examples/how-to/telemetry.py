"""OpenTelemetry: one trace from a request to the activities, and metrics."""

import asyncio

import perdure
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from perdure.telemetry import OpenTelemetry

app = perdure.Registry()


@app.activity
async def pack(item: str) -> str:
    return f"{item}, packed"


@app.orchestration
async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
    return await ctx.schedule_activity(pack, item)


exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()  # yours send to a collector
tracers, meters = TracerProvider(), MeterProvider(metric_readers=[reader])
tracers.add_span_processor(SimpleSpanProcessor(exporter))


async def main() -> None:
    telemetry = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, app, plugins=[telemetry]) as runtime,
    ):
        telemetry.watch(runtime)
        client = perdure.Client(provider, plugins=[telemetry])
        telemetry.watch_queues(client)
        with tracers.get_tracer("web").start_as_current_span("POST /orders"):
            order = await client.start_orchestration("order-1", deliver, "lamp")
        await order.result(timeout=10)

    spans = exporter.get_finished_spans()
    contexts = [span.get_span_context() for span in spans]
    names = {"POST /orders", "start deliver", "orchestration deliver", "activity pack"}
    assert {span.name for span in spans} == names
    assert len({context.trace_id for context in contexts if context is not None}) == 1


asyncio.run(main())
