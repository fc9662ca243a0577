"""
A span of OpenTelemetry that cannot fail a task.

Runs in: task environment, when OpenTelemetry is on.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from dkist_processing_core.telemetry.attributes import exception_attributes, plain, text

__all__ = ["CURRENT_TASK", "OtelSpan", "as_attributes", "record_exception"]

logger = logging.getLogger(__name__)

# Names, in a context, the record that its current span belongs to.
CURRENT_TASK = otel_context.create_key("dkist-task")
# Where an exception keeps what was recorded about it.
KNOWN = "_dkist_recorded"
DEFAULTS = {"end_on_exit": True, "record_exception": True, "set_status_on_exception": True}


def as_attributes(attributes: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    """Return attributes that no exporter fails on."""
    return plain(attributes, are_sequences_plain=True) if attributes else None


def record_exception(
    span: trace.Span, error: BaseException, attributes: Mapping[str, Any] | None = None, *, is_first: bool = True
) -> None:
    """
    Record an exception as an event, whatever its text is.

    Parameters
    ----------
    span
        The span.
    error
        The exception.
    attributes
        Facts about it.
    is_first
        Whether the event tells how the exception came here, and not only to the first span that it left. Each of many
        nested spans would have to write it down again.
    """
    known = None if is_first else getattr(error, KNOWN, None)
    if known is None:
        known = exception_attributes(error)
        with suppress(Exception):  # an exception need not have room for it
            setattr(error, KNOWN, known)
    span.add_event("exception", {**known, **(as_attributes(attributes) or {})})


class OtelSpan(trace.Span):
    """
    One stretch of work, and the context manager around it.

    It is what OpenTelemetry knows as a span, and passes everything on to one of the SDK's; a mistake in a task's
    attributes is a warning in its log, and never an error of the task.

    Parameters
    ----------
    tracer
        What starts it.
    root
        The context in which it begins if the current one belongs to another task, or to a thread that knows of none.
    name, attributes, options
        As of `Recorder.span`.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        root: Context,
        name: str,
        attributes: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self._arguments = tracer, root, name, attributes, options
        self._span: Any = trace.INVALID_SPAN
        self._token: Any = None
        self._how = DEFAULTS if not options else {key: options.get(key, DEFAULTS[key]) for key in DEFAULTS}

    def __enter__(self) -> Self:
        try:
            tracer, root, name, attributes, options = self._arguments
            current = otel_context.get_current()
            if current.get(CURRENT_TASK) is not root.get(CURRENT_TASK):
                current = root
            keywords = {"context": current, **options} if options else {"context": current}
            for key in DEFAULTS if options else ():
                keywords.pop(key, None)
            self._span = tracer.start_span(
                name if type(name) is str and name.isascii() else text(name),
                attributes=as_attributes(attributes),
                **keywords,
            )
            self._token = otel_context.attach(trace.set_span_in_context(self, current))
        except Exception as error:
            _warn(error)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
        # Closing a generator is how it ends, no error.
        if exc_val is not None and not isinstance(exc_val, GeneratorExit) and self._span.is_recording():
            if self._how["record_exception"]:
                self._record(exc_val, is_first=False)
            if self._how["set_status_on_exception"]:
                self.set_status(trace.StatusCode.ERROR, f"{type(exc_val).__name__}: {text(exc_val)}")
        if self._how["end_on_exit"]:
            self.end()

    def end(self, end_time: int | None = None) -> None:
        """End it."""
        _guarded(self._span.end, end_time)

    def get_span_context(self) -> trace.SpanContext:
        """Return its ids."""
        known: trace.SpanContext = self._span.get_span_context()
        return known

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several facts about the work."""
        made = as_attributes(attributes)
        if made:
            _guarded(self._span.set_attributes, made)

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one fact about the work."""
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Record that something happened."""
        _guarded(self._span.add_event, text(name), as_attributes(attributes), timestamp)

    def add_link(self, context: trace.SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Record that it has to do with another span."""
        _guarded(self._span.add_link, context, as_attributes(attributes))

    def update_name(self, name: str) -> None:
        """Rename it."""
        _guarded(self._span.update_name, text(name))

    def is_recording(self) -> bool:
        """Tell whether anything is recorded."""
        return bool(self._span.is_recording())

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Record how the work ended."""
        _guarded(self._span.set_status, status, None if description is None else text(description))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,  # noqa: ARG002 - the time is now
        escaped: bool = False,  # noqa: ARG002 - deprecated by OpenTelemetry
    ) -> None:
        """Record an exception as an event."""
        self._record(exception, attributes, is_first=True)

    def _record(self, error: BaseException, attributes: Mapping[str, Any] | None = None, *, is_first: bool) -> None:
        _guarded(partial(record_exception, is_first=is_first), self._span, error, attributes)

    def __getattr__(self, name: str) -> Any:
        """Return what only a span of the SDK has."""
        return getattr(object.__getattribute__(self, "_span"), name)


def _guarded(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception as error:
        _warn(error)


def _warn(error: Exception) -> None:
    with suppress(Exception):  # where the stack of the task is full, not even that is possible
        logger.warning("A span is not recorded, or not all of it: %s: %s", type(error).__name__, error)
