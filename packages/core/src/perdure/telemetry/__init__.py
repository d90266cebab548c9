"""OpenTelemetry: one trace for each instance over processes and restarts, and metrics.

Needs `pip install "perdure[otel]"`, and an OpenTelemetry SDK that exports:

    telemetry = perdure.telemetry.OpenTelemetry()
    client = perdure.Client(provider, plugins=[telemetry])
    runtime = perdure.Runtime(provider, app, plugins=[telemetry])

Importing this module needs the package `opentelemetry-api`.
"""

from perdure.telemetry.plugin import OpenTelemetry

__all__ = ["OpenTelemetry"]
