"""
The null back end: a task without telemetry.

Runs in: task environment. Its spans, tracer and meter have OpenTelemetry's methods, so that a task need not know
whether telemetry is on.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

from dkist_processing_core.telemetry.protocol import CUSTOM_SPAN_TYPE, TraceIds

__all__ = ["METER_NAME", "BackendTracer", "NullBackend", "NullMeter", "NullSpan"]

METER_NAME = "dkist"


def _ignore(*_: Any, **__: Any) -> None:
    """Do nothing."""


class NullSpan:
    """A span that records nothing. It holds no state, so one instance is enough."""

    set_attribute = set_attributes = add_event = add_link = _ignore
    record_exception = set_status = update_name = end = _ignore

    def get_span_context(self) -> SimpleNamespace:
        """Return invalid ids."""
        return SimpleNamespace(trace_id=0, span_id=0, is_remote=False, is_valid=False, trace_flags=0, trace_state={})

    def is_recording(self) -> bool:
        """Return False."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Do not suppress exceptions."""


class BackendTracer:
    """The tracer of a back end that has none of its own, with the methods of OpenTelemetry's."""

    def __init__(self, backend: "NullBackend") -> None:
        self._backend = backend

    def start_as_current_span(self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any) -> Any:
        """Return a context manager that yields a span."""
        return self._backend.span(name, CUSTOM_SPAN_TYPE, attributes or {}, {})

    def start_span(self, *_: Any, **__: Any) -> NullSpan:
        """Return a span that records nothing."""
        return NULL_SPAN


class NullMeter:
    """A meter that measures nothing, and is also each of its instruments."""

    name = METER_NAME
    add = record = set = _ignore

    def _create(self, *_: Any, **__: Any) -> Self:
        """Return an instrument that measures nothing."""
        return self

    create_counter = create_up_down_counter = create_histogram = create_gauge = _create
    create_observable_counter = create_observable_up_down_counter = create_observable_gauge = _create


class NullBackend:
    """The record of one task on one back end. This one records nothing; the others derive from it."""

    ids: TraceIds | None = None
    # An OpenTelemetry meter, or an object with its methods.
    meter: Any = NullMeter()
    # Functions that send the remaining data, by their names in warnings. They are called in parallel after `end`, each
    # in a thread of its own; one that hangs is left behind.
    flushes: Mapping[str, Callable[[], object]] = {}

    @property
    def tracer(self) -> Any:
        """An OpenTelemetry tracer, or an object with its methods."""
        return BackendTracer(self)

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any], /) -> Any:
        """
        Return the context manager of a span. Its parent is the span that is open when it begins.

        The type has the form ``type.subtype.action`` (Elastic APM). The options are arguments of OpenTelemetry's
        ``start_as_current_span``; other back ends ignore them.
        """
        return NULL_SPAN

    def end(self, error: BaseException | None) -> None:
        """End the record, in the thread of the task and without waiting. ``error`` is what the task raised, or None."""


NULL_SPAN = NullSpan()
