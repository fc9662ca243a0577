"""
An OpenTelemetry span that cannot fail a task.

Runs in: task environment, when OpenTelemetry is on.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace

from dkist_processing_core.telemetry.attributes import exception_attributes, exception_message, plain, text, warn

__all__ = ["BACKEND", "OtelSpan", "as_attributes", "record_exception"]

# Key, in a context, of the back end to which its current span belongs.
BACKEND = otel_context.create_key("dkist-task")
# Attribute of an exception in which its span attributes are cached.
KNOWN = "_dkist_recorded"
DEFAULTS = {"end_on_exit": True, "record_exception": True, "set_status_on_exception": True}


def as_attributes(attributes: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    """Return attributes that every exporter can send."""
    return plain(attributes) if attributes else None


def record_exception(
    span: trace.Span, error: BaseException, attributes: Mapping[str, Any] | None = None, *, is_known: bool = False
) -> None:
    """Record an exception as an event. Nested spans record the traceback that the first of them recorded."""
    known = getattr(error, KNOWN, None) if is_known else None
    if known is None:
        known = exception_attributes(error)
        with suppress(Exception):  # an exception may have slots
            setattr(error, KNOWN, known)
    span.add_event("exception", {**known, **(as_attributes(attributes) or {})})


def describe(error: BaseException) -> str:
    """Return the description of the status of a span that an exception left."""
    return f"{type(error).__name__}: {exception_message(error)}"


class OtelSpan(trace.Span):
    """
    A span, and its context manager.

    It passes every call to a span of the SDK. An error in the attributes of a task is logged as a warning. It begins in
    the context of its back end if the current context belongs to another task or to none, as in a new thread.
    """

    def __init__(self, backend: Any, name: str, attributes: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._arguments = backend, name, attributes, options
        self._span: Any = trace.INVALID_SPAN
        self._token: Any = None
        self._how: Mapping[str, Any] = {**DEFAULTS, **options} if options else DEFAULTS

    def __enter__(self) -> Self:
        try:
            backend, name, attributes, options = self._arguments
            current = otel_context.get_current()
            if current.get(BACKEND) is not backend:
                current = backend.context
            others = {key: value for key, value in options.items() if key not in DEFAULTS} if options else {}
            self._span = backend.tracer.start_span(
                name if type(name) is str and name.isascii() else text(name),
                attributes=as_attributes(attributes),
                **{"context": current, **others},
            )
            self._token = otel_context.attach(trace.set_span_in_context(self, current))
        except Exception as error:
            warn(error)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
        # GeneratorExit ends a closed generator, and is not an error.
        if error is not None and not isinstance(error, GeneratorExit) and self._span.is_recording():
            if self._how["record_exception"]:
                _guarded(record_exception, self._span, error, is_known=True)
            if self._how["set_status_on_exception"]:
                self.set_status(trace.StatusCode.ERROR, describe(error))
        if self._how["end_on_exit"]:
            self.end()

    def end(self, end_time: int | None = None) -> None:
        """End the span."""
        _guarded(self._span.end, end_time)

    def get_span_context(self) -> trace.SpanContext:
        """Return the ids of the span."""
        return self._span.get_span_context()  # type: ignore[no-any-return]

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several attributes of the work."""
        if made := as_attributes(attributes):
            _guarded(self._span.set_attributes, made)

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one attribute of the work."""
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Record an event."""
        _guarded(self._span.add_event, text(name), as_attributes(attributes), timestamp)

    def add_link(self, context: trace.SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Record a link to another span."""
        _guarded(self._span.add_link, context, as_attributes(attributes))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        _guarded(self._span.update_name, text(name))

    def is_recording(self) -> bool:
        """Return whether anything is recorded."""
        return bool(self._span.is_recording())

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Record how the work ended."""
        _guarded(self._span.set_status, status, None if description is None else text(description))

    def record_exception(
        self, exception: BaseException, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any
    ) -> None:
        """Record an exception as an event, now."""
        _guarded(record_exception, self._span, exception, attributes)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the SDK's span."""
        return getattr(object.__getattribute__(self, "_span"), name)


def _guarded(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
    try:
        function(*arguments, **keywords)
    except Exception as error:
        warn(error)
