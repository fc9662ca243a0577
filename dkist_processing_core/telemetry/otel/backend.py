"""
Telemetry by OpenTelemetry.

Runs in: task environment, when there is an endpoint to send to. It needs the extra ``otel``.
"""

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dkist_processing_core._version import __version__
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.telemetry.attributes import task_attributes, text
from dkist_processing_core.telemetry.null import METER_NAME, NO_METER
from dkist_processing_core.telemetry.otel.exporters import metric_exporter, span_exporter
from dkist_processing_core.telemetry.otel.providers import meter_provider, tracer_provider
from dkist_processing_core.telemetry.otel.span import CURRENT_TASK, OtelSpan, as_attributes, record_exception
from dkist_processing_core.telemetry.protocol import TraceIds
from dkist_processing_core.telemetry.trace_context import TRACEPARENT, TRACESTATE, incoming

__all__ = ["OpenTelemetry"]

logger = logging.getLogger(__name__)

INSTRUMENTATION_NAME = "dkist_processing_core"
FLUSH_MILLISECONDS = 2500
CUSTOM_SPAN_TYPE = "code.custom"


class OpenTelemetry:
    """
    One root span, and a provider of spans and one of metrics that last as long as it.

    Parameters
    ----------
    facts
        What is known of the task; it goes onto the resource, and so onto every span, and onto the root span.
    """

    def __init__(self, facts: TaskMetadata) -> None:
        attributes = as_attributes(task_attributes(facts)) or {}
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or facts.workflow_name,
                "service.version": facts.workflow_version,
                **attributes,
            }
        )
        # Before either provider, which has a thread, as what is wrong with a setting shows here; and at the same time,
        # as each may have to wait for its endpoint.
        with ThreadPoolExecutor(2) as pool:
            spans, measurements = (each.result() for each in (pool.submit(span_exporter), pool.submit(metric_exporter)))
        self._provider, self._open_spans = tracer_provider(resource, spans)
        self._meter_provider = None if measurements is None else meter_provider(resource, measurements)
        self._tracer = self._provider.get_tracer(INSTRUMENTATION_NAME, __version__)
        self.meter: Any = self._meter_provider.get_meter(METER_NAME, __version__) if self._meter_provider else NO_METER
        self._root = self._tracer.start_span(
            facts.transaction_name, context=_parent(), attributes={**attributes, "dkist.root": True}
        )
        self._context = otel_context.set_value(CURRENT_TASK, self, trace.set_span_in_context(self._root))
        self._token: Any = None

    @property
    def ids(self) -> TraceIds | None:
        """Where the root span is found."""
        known = self._root.get_span_context()
        return TraceIds(
            trace.format_trace_id(known.trace_id),
            trace.format_span_id(known.span_id),
            is_sampled=known.trace_flags.sampled,
        )

    @property
    def tracer(self) -> trace.Tracer:
        """The SDK's tracer, whose spans begin inside of the one that is open."""
        self._activate()
        return self._tracer

    def _activate(self) -> None:
        # Not before, since a task may be made and never run, or run after another one that is made later.
        if self._token is None:
            self._token = otel_context.attach(self._context)

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]) -> OtelSpan:
        """Record a stretch of work; see `Recorder.span`."""
        if self._token is None:
            self._activate()
        if span_type and span_type != CUSTOM_SPAN_TYPE:
            attributes = {**attributes, "span.type": span_type}
        return OtelSpan(self._tracer, self._context, name, attributes, options)

    def end(self, error: BaseException | None) -> None:
        """End the root span; see `Backend.end`."""
        self._open_spans.end(self._root)
        if error is None:
            self._root.set_status(trace.StatusCode.OK)
        else:
            record_exception(self._root, error)
            self._root.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {text(error)}")
        self._root.end()
        if self._token is not None:
            otel_context.detach(self._token)

    @property
    def flushes(self) -> dict[str, Callable[[], object]]:
        """Send what is left of the spans and of the metrics; see `Backend.flushes`."""
        flushes: dict[str, Callable[[], object]] = {"OpenTelemetry (spans)": self._provider.shutdown}
        if self._meter_provider is not None:
            flushes["OpenTelemetry (metrics)"] = partial(self._meter_provider.shutdown, FLUSH_MILLISECONDS)
        return flushes


def _parent() -> Context:
    if incoming() is None:
        return Context()
    return TraceContextTextMapPropagator().extract(
        {"traceparent": os.environ[TRACEPARENT].strip(), "tracestate": os.environ.get(TRACESTATE, "")}, Context()
    )
