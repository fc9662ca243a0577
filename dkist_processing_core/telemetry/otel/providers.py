"""
The tracer provider and the meter provider, with their limits, and the OTLP exporters of both.

Runs in: task environment, when OpenTelemetry is on. The exporters read the standard variables
``OTEL_EXPORTER_OTLP_...`` themselves. ``MESH_CONFIG`` may name the endpoints instead, as ``otlp-traces-endpoint`` and
``otlp-metrics-endpoint``. For these the protocol is gRPC, as in the published line, unless
``OTEL_EXPORTER_OTLP_PROTOCOL`` is set. This module contains the one private name of OpenTelemetry that this library
uses. A test fails if a release moves it.
"""

import logging
import os
from importlib import import_module
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from dkist_processing_core.common.waits import end_seconds
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.telemetry.attributes import LEFT_OPEN, LONGEST
from dkist_processing_core.telemetry.endpoints import GRPC, HTTP, endpoint, setting

__all__ = ["OpenSpans", "exporter", "meter_provider", "tracer_provider"]

logger = logging.getLogger(__name__)

# Large enough that a burst of spans is not lost before it is sent; about 30 MB at most.
MOST_PENDING_SPANS = 16384
# The API has no public way to find out whether a meter provider is set in this process.
UNSET_METER_PROVIDER = "_ProxyMeterProvider"
PACKAGE = "opentelemetry.exporter.otlp.proto"
EXPORTERS = {"traces": "trace_exporter.OTLPSpanExporter", "metrics": "metric_exporter.OTLPMetricExporter"}
# Shares of the time that the end of a task may take: for one export of metrics, and for one request.
EXPORT_SHARE, REQUEST_SHARE = 5 / 6, 2 / 3


class OpenSpans(SpanProcessor):
    """Keeps the open spans. If they did not end, they would not be sent, and their children would have no parent."""

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
        """End and mark the spans that the task left open, except its root span, the innermost ones first."""
        for span in reversed(list(self._spans.values())):
            if span is not root:
                span.set_attribute(LEFT_OPEN, value=True)
                span.end()


def tracer_provider(resource: Resource, exporter: Any) -> tuple[TracerProvider, OpenSpans]:
    """Return a tracer provider, which sends spans in the background if there is an exporter, and the open spans."""
    variables = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
    is_limited = any(map(os.environ.get, variables))
    limits = SpanLimits(max_attribute_length=None if is_limited else LONGEST)
    provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
    open_spans = OpenSpans()
    provider.add_span_processor(open_spans)
    if exporter is not None:
        size = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else MOST_PENDING_SPANS
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=size))
    # Instrumented libraries use the global provider, which can be set only once.
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    return provider, open_spans


def meter_provider(resource: Resource, exporter: Any) -> MeterProvider:
    """Return a meter provider that sends metrics in the background, and at its shutdown."""
    reader = PeriodicExportingMetricReader(exporter, export_timeout_millis=1000 * end_seconds(EXPORT_SHARE))
    provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    if type(metrics.get_meter_provider()).__name__ == UNSET_METER_PROVIDER:
        metrics.set_meter_provider(provider)
    return provider


def exporter(signal: str) -> Any:
    """Return the exporter of ``traces`` or of ``metrics``; None if there is no endpoint for them."""
    kind = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp"
    if kind == "none":
        return None
    if kind != "otlp":
        logger.warning(
            "OTEL_%s_EXPORTER is %r, which is neither otlp nor none; otlp is used",
            signal.upper(),
            kind,
        )
    if (known := endpoint(signal)) is None:
        return None
    protocol = known.protocol
    options: dict[str, Any] = {} if setting(signal, "TIMEOUT") else {"timeout": end_seconds(REQUEST_SHARE)}
    if not known.is_standard:  # the exporter reads the standard variables itself
        options |= {"endpoint": known.address, **({"insecure": True} if protocol == GRPC else {})}
    module, name = EXPORTERS[signal].split(".")
    try:
        found = import_module(f"{PACKAGE}.{'grpc' if protocol == GRPC else 'http'}.{module}")
    except ModuleNotFoundError:
        if protocol != GRPC:
            raise
        raise ConfigurationError(
            "OTLP by gRPC, the default for the endpoints in MESH_CONFIG, needs one more distribution. "
            f"If the endpoint speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL={HTTP}. "
            "Otherwise install it with: pip install opentelemetry-exporter-otlp-proto-grpc"
        ) from None
    return getattr(found, name)(**options)
