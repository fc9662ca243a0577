"""
The types that a task and its listeners share.

Runs in: task environment.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

# Types of the spans of the phases, and of the spans that are given no type.
CORE_SPAN_TYPE = "code.core"
CUSTOM_SPAN_TYPE = "code.custom"
# The types that OpenTelemetry supports. Elastic APM has no sequences and gets their text.
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
        """Record one attribute of the work."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record several attributes of the work."""


class Listener(Protocol):
    """What is called at the life-cycle events of a task."""

    def started(self) -> None:
        """Take note that the first phase is about to begin."""

    def phase(self, name: str) -> AbstractContextManager[Any]:
        """Return a context manager to be used around a phase of the task."""

    def close(self, error: BaseException | None) -> None:
        """Take note of what ended the task, None if it succeeded, and finish in bounded time."""
