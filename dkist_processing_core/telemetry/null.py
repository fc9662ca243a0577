"""
The null back end: a task without telemetry.

Runs in: task environment. Its spans, tracer and meter have the methods of OpenTelemetry's, so that a task need not know
whether telemetry is on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from dkist_processing_core.telemetry.protocol import AttributeValue, TraceIds

__all__ = ["METER_NAME", "NullBackend", "NullInstrument", "NullMeter", "NullSpan", "NullTracer"]

METER_NAME = "dkist"


class NullSpanContext:
    """The ids of a span that is not recorded."""

    trace_id = 0
    span_id = 0
    is_remote = False
    is_valid = False
    trace_flags = 0
    trace_state: Mapping[str, str] = {}


class NullSpan:
    """A span that records nothing. It holds no state, so one instance is enough."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record nothing."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record nothing."""

    def _ignore(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    add_event = _ignore
    add_link = _ignore
    record_exception = _ignore
    set_status = _ignore
    update_name = _ignore
    end = _ignore

    def get_span_context(self) -> NullSpanContext:
        """Return ids that are not valid."""
        return NULL_SPAN_CONTEXT

    def is_recording(self) -> bool:
        """Return False."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Let exceptions through."""


class NullTracer:
    """A tracer whose spans record nothing, or are those of a back end that has no tracer of its own."""

    def __init__(self, start: Callable[[str, Mapping[str, Any]], Any] | None = None) -> None:
        self._start = start

    def start_as_current_span(self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any) -> Any:
        """Return a context manager that yields a span."""
        return self._start(name, attributes or {}) if self._start else NULL_SPAN

    def start_span(self, *_: Any, **__: Any) -> NullSpan:
        """Return a span that records nothing."""
        return NULL_SPAN


class NullInstrument:
    """A counter, histogram or gauge that measures nothing."""

    def _ignore(self, *_: Any, **__: Any) -> None:
        """Measure nothing."""

    add = _ignore
    record = _ignore
    set = _ignore


class NullMeter:
    """A meter whose instruments measure nothing."""

    name = METER_NAME

    def _create(self, *_: Any, **__: Any) -> NullInstrument:
        """Return an instrument that measures nothing."""
        return NULL_INSTRUMENT

    create_counter = _create
    create_up_down_counter = _create
    create_histogram = _create
    create_gauge = _create
    create_observable_counter = _create
    create_observable_up_down_counter = _create
    create_observable_gauge = _create


class NullBackend:
    """The back end of a task whose telemetry is off."""

    ids: TraceIds | None = None
    flushes: Mapping[str, Callable[[], object]] = {}

    def __init__(self) -> None:
        self.tracer = NullTracer()
        self.meter = NULL_METER

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]) -> NullSpan:
        """Return the span that records nothing."""
        return NULL_SPAN

    def end(self, error: BaseException | None) -> None:
        """Do nothing."""


NULL_SPAN_CONTEXT = NullSpanContext()
NULL_SPAN = NullSpan()
NULL_INSTRUMENT = NullInstrument()
NULL_METER = NullMeter()
