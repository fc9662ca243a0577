"""
The telemetry back end that keeps the spans of a task in memory.

Runs in: task environment, if ``DKIST_SPANS_FILE`` is set; and author and CI, where tests record tasks.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.telemetry.attributes import task_attributes
from dkist_processing_core.telemetry.memory.spans import RecordedSpan, RecordedTask, SpanContext
from dkist_processing_core.telemetry.null import BackendTracer, NullBackend, NullSpan
from dkist_processing_core.telemetry.protocol import CUSTOM_SPAN_TYPE, TraceIds, incoming

__all__ = ["InMemoryBackend"]


class _Tracer(BackendTracer):
    _backend: "InMemoryBackend"

    def start_span(self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any) -> NullSpan:
        return self._backend.new_span(name, CUSTOM_SPAN_TYPE, attributes or {})


class InMemoryBackend(NullBackend):
    """The telemetry back end that records one task in memory. The task gets the given meter."""

    def __init__(self, metadata: TaskMetadata, meter: Any) -> None:
        continued = incoming()
        ids = TraceIds(continued.trace_id if continued else secrets.token_hex(16), secrets.token_hex(8))
        self.task = RecordedTask(
            name=metadata.task_name,
            workflow_name=metadata.workflow_name,
            workflow_version=metadata.workflow_version,
            recipe_run_id=metadata.recipe_run_id,
            attributes=task_attributes(metadata),
            ids=ids,
        )
        self.ids = ids
        self.meter = meter

    @property
    def tracer(self) -> BackendTracer:
        """A tracer that records in memory."""
        return _Tracer(self)

    def new_span(self, name: str, span_type: str, attributes: Mapping[str, Any]) -> NullSpan:
        """Begin a span inside the open one."""
        return RecordedSpan(self.task, name, span_type, attributes)

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], *_: Any) -> SpanContext:
        """Return the context manager of a span; see `NullBackend.span`."""
        return SpanContext(lambda: self.new_span(name, span_type, attributes))

    def end(self, error: BaseException | None) -> None:
        """End the task; see `NullBackend.end`."""
        self.task.error = error
        self.task.is_ended = True
