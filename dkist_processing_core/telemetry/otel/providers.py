"""
The providers of spans and of metrics, with what bounds them.

Runs in: task environment, when OpenTelemetry is on.
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

# So that a burst of spans is not lost before it can be sent; some 30 MB at most.
MOST_WAITING_SPANS = 16384
EXPORT_MILLISECONDS = 2500


class OpenSpans(SpanProcessor):
    """Knows the spans that have not ended. Those are never sent, and whatever is below them would have no parent."""

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
        """End what the task has left open apart from its root span, the innermost ones first, and say so on them."""
        for span in reversed(list(self._spans.values())):
            if span is not root:
                span.set_attribute(LEFT_OPEN, value=True)
                span.end()


def tracer_provider(resource: Resource, exporter: Any) -> tuple[TracerProvider, OpenSpans]:
    """
    Return a provider of spans that are sent in the background, and what knows those that are open.

    Parameters
    ----------
    resource
        What the spans are from.
    exporter
        What sends them; None to send nothing.
    """
    limit = os.environ.get("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT") or os.environ.get(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
    )
    provider = TracerProvider(
        resource=resource,
        span_limits=SpanLimits() if limit else SpanLimits(max_attribute_length=LONGEST),
        shutdown_on_exit=False,
    )
    open_spans = OpenSpans()
    provider.add_span_processor(open_spans)
    if exporter is not None:
        size = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else MOST_WAITING_SPANS
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=size))
    # Libraries that are instrumented use the provider of the process, of which there is only one, the first.
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    return provider, open_spans


def meter_provider(resource: Resource, exporter: Any) -> MeterProvider:
    """
    Return a provider of metrics that are sent in the background, and when it is shut down.

    Parameters
    ----------
    resource
        What the metrics are from.
    exporter
        What sends them.
    """
    reader = PeriodicExportingMetricReader(exporter, export_timeout_millis=EXPORT_MILLISECONDS)
    provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics.set_meter_provider(provider)
    return provider
