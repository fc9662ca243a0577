"""
The types that a task and the telemetry back ends share, and the trace that a task continues (W3C Trace Context).

Runs in: task environment.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

# Types of the spans of phases, and of spans without a given type.
CORE_SPAN_TYPE = "code.core"
CUSTOM_SPAN_TYPE = "code.custom"
# The types that OpenTelemetry supports. Elastic APM has no sequences, and gets them as text.
AttributeValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]

TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"
# W3C Trace Context, 3.2. A later version may have more fields after the flags; ff is not a valid version.
FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
VERSION = "00"
IS_SAMPLED = 1


class TraceIds(NamedTuple):
    """The ids of a trace (32 hexadecimal digits) and of the transaction or root span of the task (16 digits)."""

    trace_id: str
    transaction_id: str
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header ``traceparent`` of W3C Trace Context, with which another process continues the trace."""
        return f"00-{self.trace_id}-{self.transaction_id}-{self.is_sampled:02x}"


class Span(Protocol):
    """A span, with the methods of OpenTelemetry's that every back end has."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record one attribute of the work."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record several attributes of the work."""


def incoming() -> TraceIds | None:
    """Return the trace and the span that ``TRACEPARENT`` names; None if it is not set or malformed."""
    text = os.environ.get(TRACEPARENT, "").strip()
    found = FORM.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags = found.groups()
    if version == VERSION and not text.endswith(f"-{flags}"):
        return None
    return TraceIds(trace_id, span_id, is_sampled=bool(int(flags, 16) & IS_SAMPLED))
