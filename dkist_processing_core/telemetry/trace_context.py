"""
The trace that a task continues, by W3C Trace Context in environment variables.

Runs in: task environment, if any back end is on.
"""

import os
import re

from dkist_processing_core.telemetry.protocol import TraceIds

__all__ = ["TRACEPARENT", "TRACESTATE", "incoming"]

TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"
# W3C Trace Context, 3.2. A later version may have more fields after the flags; ff is not a version.
FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
VERSION = "00"
IS_SAMPLED = 1


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
