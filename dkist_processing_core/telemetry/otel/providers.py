"""
The providers of spans and of metrics, with their bounds.

Runs in: task environment, when OpenTelemetry is on. The one private name of OpenTelemetry that this library relies on
stands here; a test fails when another release moves it.
"""

import os
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from dkist_processing_core.telemetry.attributes import LEFT_OPEN, LONGEST

__all__ = ["OpenSpans", "meter_provider", "tracer_provider"]

# So that a burst of spans is not lost before it is sent; some 30 MB at most.
MOST_PENDING_SPANS = 16384
EXPORT_MILLISECONDS = 2500
# The API has no public way to ask whether a provider of metrics is set in this process.
UNSET_METER_PROVIDER = "_ProxyMeterProvider"


class OpenSpans(SpanProcessor):
    """Keeps the spans that have not ended. These are never sent, and the spans below them would have no parent."""

    def __init__(self) -> None:
        self._spans: dict[int, Span] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's signature
        """Add a span."""
        self._spans[span.get_span_context().span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        """Remove a span."""
        if span.context is not None:
            self._spans.pop(span.context.span_id, None)

    def end(self, root: trace.Span) -> None:
        """End and mark the spans that the task has left open, apart from its root span, the innermost ones first."""
        for span in reversed(list(self._spans.values())):
            if span is not root:
                span.set_attribute(LEFT_OPEN, value=True)
                span.end()


def tracer_provider(resource: Resource, exporter: Any) -> tuple[TracerProvider, OpenSpans]:
    """Return a provider that sends spans in the background, if there is an exporter, and the spans that are open."""
    variables = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
    is_limited = any(map(os.environ.get, variables))
    limits = SpanLimits(max_attribute_length=None if is_limited else LONGEST)
    provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
    open_spans = OpenSpans()
    provider.add_span_processor(open_spans)
    if exporter is not None:
        size = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else MOST_PENDING_SPANS
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=size))
    # Instrumented libraries use the provider of the process, which can be set only once.
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    return provider, open_spans


def meter_provider(resource: Resource, exporter: Any) -> MeterProvider:
    """Return a provider that sends metrics in the background, and when it is shut down."""
    reader = PeriodicExportingMetricReader(exporter, export_timeout_millis=EXPORT_MILLISECONDS)
    provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    if type(metrics.get_meter_provider()).__name__ == UNSET_METER_PROVIDER:
        metrics.set_meter_provider(provider)
    return provider
