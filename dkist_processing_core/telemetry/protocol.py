"""
The types that a task and the telemetry back ends share.

Runs in: task environment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# Types of the spans of the phases, and of the spans that are given no type.
CORE_SPAN_TYPE = "code.core"
CUSTOM_SPAN_TYPE = "code.custom"
# The types that OpenTelemetry supports. Elastic APM has no sequences and gets their text.
AttributeValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class TraceIds:
    """
    Where the record of a task is found.

    The trace has 32 hexadecimal digits and the transaction, or root span, 16 (W3C Trace Context).
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
