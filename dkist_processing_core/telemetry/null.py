"""
No telemetry: the twin of the other back ends that does nothing.

Runs in: task environment. Code that is written for OpenTelemetry finds its methods here, so that a task need not know
whether it is switched on.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from dkist_processing_core.telemetry.protocol import AttributeValue, TraceIds

__all__ = ["NoInstrument", "NoMeter", "NoSpan", "NoTelemetry", "NoTracer"]

METER_NAME = "dkist"


class NoSpanContext:
    """The ids of a span that has none."""

    trace_id = 0
    span_id = 0
    is_remote = False
    is_valid = False
    trace_flags = 0
    trace_state: Mapping[str, str] = {}


class NoSpan:
    """A span that records nothing; one instance serves everywhere, since it holds no state."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record nothing."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record nothing."""

    def add_event(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    def add_link(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    def record_exception(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    def set_status(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    def update_name(self, name: str) -> None:
        """Record nothing."""

    def end(self, *_: Any, **__: Any) -> None:
        """Record nothing."""

    def get_span_context(self) -> NoSpanContext:
        """Return ids that are none."""
        return NO_SPAN_CONTEXT

    def is_recording(self) -> bool:
        """Tell that nothing is recorded."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Let exceptions through."""


class NoTracer:
    """A tracer whose spans are those of a back end without tracers, or record nothing."""

    def __init__(self, start: Callable[..., Any] | None = None) -> None:
        self._start = start

    def start_as_current_span(self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any) -> Any:
        """Return a context manager that yields a span."""
        return self._start(name, attributes or {}) if self._start else NO_SPAN

    def start_span(self, *_: Any, **__: Any) -> NoSpan:
        """Return a span that records nothing."""
        return NO_SPAN


class NoInstrument:
    """A counter, histogram or gauge that measures nothing."""

    def add(self, *_: Any, **__: Any) -> None:
        """Measure nothing."""

    def record(self, *_: Any, **__: Any) -> None:
        """Measure nothing."""

    def set(self, *_: Any, **__: Any) -> None:
        """Measure nothing."""


class NoMeter:
    """A meter whose instruments measure nothing."""

    name = METER_NAME

    def _create(self, *_: Any, **__: Any) -> NoInstrument:
        """Return an instrument that measures nothing."""
        return NO_INSTRUMENT

    create_counter = _create
    create_up_down_counter = _create
    create_histogram = _create
    create_gauge = _create
    create_observable_counter = _create
    create_observable_up_down_counter = _create
    create_observable_gauge = _create


class NoTelemetry:
    """Telemetry that records nothing."""

    @property
    def ids(self) -> TraceIds | None:
        """None, as nothing is recorded."""
        return None

    @property
    def tracer(self) -> NoTracer:
        """A tracer whose spans record nothing."""
        return NO_TRACER

    @property
    def meter(self) -> NoMeter:
        """A meter whose instruments measure nothing."""
        return NO_METER

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]) -> NoSpan:
        """Return the span that records nothing."""
        return NO_SPAN

    def close(self, error: BaseException | None) -> None:
        """Do nothing."""


NO_SPAN_CONTEXT = NoSpanContext()
NO_SPAN = NoSpan()
NO_TRACER = NoTracer()
NO_INSTRUMENT = NoInstrument()
NO_METER = NoMeter()
