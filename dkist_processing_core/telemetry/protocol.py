"""
What a telemetry back end has to offer.

Runs in: task environment.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["AttributeValue", "Backend", "Span", "Telemetry", "TraceIds"]

# What OpenTelemetry takes; Elastic APM takes no sequences, and is given their text.
AttributeValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class TraceIds:
    """
    Where the record of a task is found.

    Attributes
    ----------
    trace_id
        Id of the trace, 32 hexadecimal digits (W3C Trace Context).
    transaction_id
        Id of the transaction, or root span, 16 hexadecimal digits.
    is_sampled
        Whether it is recorded.
    """

    trace_id: str
    transaction_id: str
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header ``traceparent`` of W3C Trace Context, by which another process continues the trace."""
        return f"00-{self.trace_id}-{self.transaction_id}-{self.is_sampled:02x}"


class Span(Protocol):
    """One stretch of work; the part of an OpenTelemetry span that every back end has."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record one fact about the work."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record several facts about the work."""


class Recorder(Protocol):
    """One task, being recorded."""

    @property
    def ids(self) -> TraceIds | None:
        """Where the record is found; None if there is none."""

    @property
    def tracer(self) -> Any:
        """An OpenTelemetry tracer, or what has its methods."""

    @property
    def meter(self) -> Any:
        """An OpenTelemetry meter, or what has its methods."""

    def span(
        self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]
    ) -> AbstractContextManager[Any]:
        """
        Record a stretch of work, inside of the span that is open when it begins.

        Parameters
        ----------
        name
            What the work is.
        span_type
            Kind of work, dotted (Elastic's ``type.subtype.action``).
        attributes
            Facts about the work.
        options
            More arguments of OpenTelemetry's ``start_as_current_span``; other back ends pass over them.
        """


class Telemetry(Recorder, Protocol):
    """What `TaskBase` talks to."""

    def close(self, error: BaseException | None) -> None:
        """
        End the recording and hand over what is left of it, in bounded time.

        Parameters
        ----------
        error
            What ended the task, None if it succeeded.
        """


class Backend(Recorder, Protocol):
    """One of the back ends that may be behind it."""

    def end(self, error: BaseException | None) -> None:
        """
        End the recording, in the thread of the task and without waiting for anything.

        Parameters
        ----------
        error
            What ended the task, None if it succeeded.
        """

    @property
    def flushes(self) -> Mapping[str, Callable[[], object]]:
        """
        What hands over what is left of the recording, by what a warning calls it.

        They are called at the same time, each in a thread of its own; one that hangs is left behind.
        """
