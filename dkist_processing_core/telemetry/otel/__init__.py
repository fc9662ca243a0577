"""
Telemetry with OpenTelemetry.

Runs in: task environment, if an endpoint is configured. It needs the extra ``otel``.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dkist_processing_core._version import __version__
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.waits import end_seconds
from dkist_processing_core.telemetry.attributes import task_attributes
from dkist_processing_core.telemetry.null import METER_NAME, NullBackend
from dkist_processing_core.telemetry.otel.providers import exporter, meter_provider, tracer_provider
from dkist_processing_core.telemetry.otel.span import BACKEND, OtelSpan, as_attributes, describe, record_exception
from dkist_processing_core.telemetry.protocol import CUSTOM_SPAN_TYPE, TRACEPARENT, TRACESTATE, TraceIds, incoming

__all__ = ["OpenTelemetryBackend"]

INSTRUMENTATION_NAME = "dkist_processing_core"
FLUSH_SHARE = 5 / 6  # share of the time that the end of a task may take


class OpenTelemetryBackend(NullBackend):
    """One root span, and a tracer provider and a meter provider with the same lifetime."""

    def __init__(self, metadata: TaskMetadata) -> None:
        attributes = as_attributes(task_attributes(metadata)) or {}
        service = os.environ.get("OTEL_SERVICE_NAME") or metadata.workflow_name
        version = metadata.workflow_version
        resource = Resource.create({"service.name": service, "service.version": version, **attributes})
        # Before the providers, which start threads, since a wrong setting raises an error here.
        spans, measurements = exporter("traces"), exporter("metrics")
        provider, self._open_spans = tracer_provider(resource, spans)
        self._tracer = provider.get_tracer(INSTRUMENTATION_NAME, __version__)
        self.flushes: dict[str, Callable[[], object]] = {"OpenTelemetry (spans)": provider.shutdown}
        if measurements is not None:
            meters = meter_provider(resource, measurements)
            self.meter = meters.get_meter(METER_NAME, __version__)
            self.flushes["OpenTelemetry (metrics)"] = partial(meters.shutdown, 1000 * end_seconds(FLUSH_SHARE))
        self._root = self._tracer.start_span(
            metadata.transaction_name, context=_parent(), attributes={**attributes, "dkist.root": True}
        )
        self.context = otel_context.set_value(BACKEND, self, trace.set_span_in_context(self._root))
        self._token: Any = None
        known = self._root.get_span_context()
        is_sampled = known.trace_flags.sampled
        self.ids = TraceIds(f"{known.trace_id:032x}", f"{known.span_id:016x}", is_sampled=is_sampled)

    @property
    def tracer(self) -> trace.Tracer:
        """The SDK's tracer. Its spans begin inside the open one."""
        # Not before, since a task may be created and never run, or run after a task that was created later.
        if self._token is None:
            self._token = otel_context.attach(self.context)
        return self._tracer

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any], /) -> OtelSpan:
        """Return the context manager of a span; see `NullBackend.span`."""
        if span_type and span_type != CUSTOM_SPAN_TYPE:
            attributes = {**attributes, "span.type": span_type}
        return OtelSpan(self, name, attributes, options)

    def end(self, error: BaseException | None) -> None:
        """End the root span; see `NullBackend.end`."""
        self._open_spans.end(self._root)
        if error is None:
            self._root.set_status(trace.StatusCode.OK)
        else:
            record_exception(self._root, error)
            self._root.set_status(trace.StatusCode.ERROR, describe(error))
        self._root.end()
        if self._token is not None:
            otel_context.detach(self._token)


def _parent() -> Context:
    if incoming() is None:
        return Context()
    return TraceContextTextMapPropagator().extract(
        {"traceparent": os.environ[TRACEPARENT].strip(), "tracestate": os.environ.get(TRACESTATE, "")}, Context()
    )
